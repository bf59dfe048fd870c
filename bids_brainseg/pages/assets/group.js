/* SPDX-License-Identifier: Apache-2.0
   Charts, contact sheet and tables of the group page. `Chart`, `DataTable` and the data are on the page. */
const data = JSON.parse(document.getElementById('data').textContent);
const $ = (id) => document.getElementById(id);
// Okabe and Ito's colors, safe for color-blind readers, without black and yellow, which vanish in one of the themes.
const COLORS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8c6bb1', '#a6761d',
  '#66a61e', '#e7298a', '#1b9e77', '#7f7f7f'];
const palette = () => (isDark() ? ['#5aa9e6', '#f0803c', '#2fbf95', ...COLORS.slice(3)] : COLORS);
const CONTROLS = ['structure', 'measure', 'modality', 'color', 'against', 'pair', 'sheet-modality', 'sheet-verdict'];
const FEWEST_IN_BOX = 5;
const dark = window.matchMedia('(prefers-color-scheme: dark)');
// On paper, colors are light, charts fit the sheet, and short tables are shown in full.
const PAPER = { large: [940, 320], small: [300, 190] };
const PAPER_ROWS = 200;
const root = document.documentElement;
const onPaper = () => root.classList.contains('paper');
const isDark = () => dark.matches && !onPaper();
const outlierReasons = new Map(data.outliers.flatMap(([scan, entries]) => entries.map(([s, why]) => [`${scan} ${s}`, why])));
// Which score puts a ring around a point of each measure: 0 volume, 1 residual, 2 asymmetry.
const JUDGED = { volume_mm3: 0, percent: 1, residual: 1, asymmetry: 2 };

const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const escape = (text) => String(text ?? '').replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const minus = (text) => text.replace('-', '−');
const number = (value) => (value === null ? 'n/a' : minus(value.toLocaleString('en', { maximumSignificantDigits: 5, useGrouping: false })));
const rough = (value) => (value === null ? 'n/a' : number(Number(value.toPrecision(3))));
const withUnit = (value, unit) => (unit && value !== null ? `${number(value)} ${unit}` : number(value));
const DIGITS = { 'Brain, ml': 1, 'Ventricles, ml': 1, 'eTIV, ml': 1, 'Mean CV, %': 2, Alignment: 2 };
const decimals = (value, title) => value.toLocaleString('en', { minimumFractionDigits: DIGITS[title] ?? 0, useGrouping: false });
const address = (page) => page.split('#').map(encodeURI).join('#');

// === Controls ===

function fill(id, options) {
  $(id).replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  $(id).closest('label').hidden = options.length < 2;
}
const count = (values) => values.reduce((counts, value) => counts.set(value, (counts.get(value) ?? 0) + 1), new Map());
const WORDS = { pass: 'Pass', review: 'Review', fail: 'Fail', failed: 'Failed', skipped: 'Skipped', broken: 'Broken', missing: 'Missing', partial: 'Partial', outdated: 'Outdated' };
const hasValues = (measure) => data.values[measure].some((list) => list !== null);
const every = (values) => {
  const each = [...count(values)].map(([value, n]) => [value, `${WORDS[value] ?? value} (${n})`]);
  return each.length > 1 ? [['', `all (${values.length})`], ...each] : [['', 'all']];
};
fill('structure', data.keys.map((key, i) => [key, data.names[i]]));
fill('measure', Object.entries(data.measures).filter(([key]) => hasValues(key)).map(([key, m]) => [key, `${m.name}, ${m.unit}`]));
fill('modality', [...(data.modalities.length > 1 ? [['', 'all']] : []), ...data.modalities.map((m) => [m, m])]);
fill('color', Object.keys(data.groups).map((name) => [name, name]));
fill('against', Object.keys(data.axes).map((name) => [name, name]));
fill('pair', data.pairs.map(([a, b, places], i) => [i, `${a === b ? `${a}, repeated` : `${a} and ${b}`} (${places.length})`]));
fill('sheet-modality', every(data.sheet.map((tile) => tile[1])));
fill('sheet-verdict', every(data.sheet.map((tile) => tile[2])));

// The choices are kept in the address, so that a view can be bookmarked and shared.
function restore() {
  const chosen = new URLSearchParams(location.hash.slice(1));
  const usual = { structure: 'Left-Hippocampus', color: data.groups.scanner?.levels.length > 1 ? 'scanner' : 'verdict' };
  for (const id of CONTROLS) {
    const value = chosen.get(id) ?? usual[id];
    if (value !== undefined && [...$(id).options].some((option) => option.value === value)) $(id).value = value;
  }
}
function keep() {
  const chosen = new URLSearchParams(CONTROLS.filter((id) => $(id).value !== '').map((id) => [id, $(id).value]));
  history.replaceState(null, '', `#${chosen}`);
}

// === Drawing ===

const drawn = new Map();

// Boxes of quartiles and lines of thresholds lie behind the points.
const backdrop = {
  id: 'backdrop',
  beforeDatasetsDraw({ ctx, scales: { x, y }, chartArea }, _, { boxes, lines }) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(chartArea.left, chartArea.top, chartArea.width, chartArea.height);
    ctx.clip();
    ctx.strokeStyle = css('--soft');
    ctx.fillStyle = 'rgba(128, 128, 128, 0.12)';
    for (const { at, quartiles: [low, q1, median, q3, high] } of boxes ?? []) {
      const [left, middle, right] = [at - 0.375, at, at + 0.375].map((value) => x.getPixelForValue(value));
      const [bottom, lower, center, upper, top] = [low, q1, median, q3, high].map((value) => y.getPixelForValue(value));
      ctx.fillRect(left, upper, right - left, lower - upper);
      ctx.strokeRect(left, upper, right - left, lower - upper);
      ctx.beginPath();
      for (const [x0, y0, x1, y1] of [[left, center, right, center], [middle, upper, middle, top], [middle, lower, middle, bottom]]) {
        ctx.moveTo(x0, y0);
        ctx.lineTo(x1, y1);
      }
      ctx.stroke();
    }
    for (const { from, to, color, dash } of lines ?? []) {
      ctx.strokeStyle = color;
      ctx.lineWidth = dash ? 1.5 : 1;
      ctx.setLineDash(dash ? [5, 4] : []);
      ctx.beginPath();
      ctx.moveTo(x.getPixelForValue(from[0]), y.getPixelForValue(from[1]));
      ctx.lineTo(x.getPixelForValue(to[0]), y.getPixelForValue(to[1]));
      ctx.stroke();
    }
    ctx.restore();
  },
};

// Whiskers reach to the farthest values within 1.5 of the box.
function quartiles(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => {
    const place = share * (sorted.length - 1);
    const below = Math.floor(place);
    return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
  };
  const [q1, median, q3] = [at(0.25), at(0.5), at(0.75)];
  const inside = sorted.filter((value) => value >= q1 - 1.5 * (q3 - q1) && value <= q3 + 1.5 * (q3 - q1));
  return [Math.min(...inside.slice(0, 1), q1), q1, median, q3, Math.max(...inside.slice(-1), q3)];
}

function axis(title, more) {
  const text = { color: css('--ink'), font: { size: onPaper() ? 11 : 13 } };
  return {
    type: 'linear', title: { display: Boolean(title), text: title, ...text }, grid: { color: css('--line') },
    border: { color: css('--line') }, ...more,
    ticks: { color: css('--ink'), font: { size: 12 }, maxTicksLimit: 7, includeBounds: false, callback: (value) => number(value), ...more?.ticks },
  };
}

// An axis of names instead of numbers.
const names = (labels, more) => axis('', {
  min: -0.6, max: labels.length - 0.4, grid: { display: false },
  afterBuildTicks: (scale) => {
    scale.ticks = labels.map((_, value) => ({ value })).filter(({ value }) => value >= scale.min && value <= scale.max);
  },
  ticks: { callback: (value) => labels[value] ?? '', autoSkip: false, maxRotation: 40 }, ...more,
});

function draw(id, datasets, { x, y, legend = true, small = false, ...behind }) {
  const holder = $(id);
  drawn.get(id)?.destroy();
  holder.classList.remove('empty');
  const canvas = document.createElement('canvas');
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', holder.dataset.label ?? '');
  holder.replaceChildren(canvas);
  const scanOf = ({ datasetIndex, index }) => datasets[datasetIndex].data[index].scan;
  const chart = new Chart(canvas, {
    type: 'scatter',
    data: { datasets },
    plugins: [backdrop],
    options: {
      animation: false, parsing: false, normalized: true, responsive: !onPaper(), maintainAspectRatio: false,
      devicePixelRatio: onPaper() ? 2 : window.devicePixelRatio, interaction: { mode: 'nearest', intersect: true },
      layout: { padding: { top: 4, right: 8 } }, scales: { x, y },
      onClick: (event, [element]) => {
        const page = element && data.page[scanOf(element)];
        if (!page) return;
        if (event.native.ctrlKey || event.native.metaKey) window.open(address(page)); else location.href = address(page);
      },
      onHover: (event, [element]) => { canvas.style.cursor = element && data.page[scanOf(element)] ? 'pointer' : 'default'; },
      plugins: {
        backdrop: behind,
        legend: { display: legend, onClick: Chart.defaults.plugins.legend.onClick, labels: { color: css('--ink'), usePointStyle: true, boxHeight: 7, boxWidth: 9 } },
        tooltip: {
          displayColors: false, backgroundColor: css('--card'), titleColor: css('--ink'), bodyColor: css('--ink'),
          borderColor: css('--soft'), borderWidth: 1, padding: 8, filter: (_, place) => place === 0,
          callbacks: {
            title: ([item]) => item && data.scan[item.raw.scan],
            label: (item) => item.dataset.told(item.raw.scan),
          },
        },
        zoom: { zoom: { drag: { enabled: true, threshold: 6, backgroundColor: 'rgba(128, 128, 128, 0.2)' }, mode: 'xy' } },
      },
    },
  });
  canvas.addEventListener('dblclick', () => chart.resetZoom());
  drawn.set(id, chart);
  if (onPaper()) chart.resize(...PAPER[small ? 'small' : 'large']);
  holder.dataset.points = datasets.reduce((sum, set) => sum + set.data.length, 0);
}
function say(id, text) {
  drawn.get(id)?.destroy();
  drawn.delete(id);
  delete $(id).dataset.points;
  $(id).classList.add('empty');
  $(id).textContent = text;
}

// Spread points sideways, the same way every time.
const jitter = (i) => ((Math.imul(i + 1, 2654435761) >>> 0) / 2 ** 32 - 0.5) * 0.6;

// A tooltip cannot be wider than a narrow screen.
function wrapped(lines, width = 60) {
  return lines.flatMap((line) => line.match(new RegExp(`.{1,${width}}(?:\\s|$)|\\S+`, 'g'))?.map((part) => part.trim()) ?? ['']);
}
function told(i, value, more = []) {
  const lines = [value];
  for (const [name, group] of Object.entries(data.groups)) {
    if (group.of[i] >= 0) lines.push(`${name}: ${group.levels[group.of[i]]}`);
  }
  return wrapped([...lines, ...more.filter(Boolean)]);
}

const VERDICT = { pass: '--pass', review: '--review', fail: '--fail' };

// One set of points for each color, and a ring around each outlier.
function points(chosen, x, y, { color, lines, outlier = () => false, radius }) {
  const group = data.groups[color] ?? { levels: [], of: [] };
  const size = radius ?? (chosen.length > 600 ? 2.5 : 4);
  const set = (own, label, tone) => ({
    label, data: own.map((i) => ({ x: x(i), y: y(i), scan: i })), told: lines, pointRadius: size, pointHoverRadius: size + 2,
    backgroundColor: `${tone}bf`, borderColor: tone, borderWidth: 0, pointHitRadius: 3, clip: size + 2,
  });
  const sets = group.levels.map((level, g) => set(chosen.filter((i) => group.of[i] === g), level,
    color === 'verdict' ? css(VERDICT[level] ?? '--none') : palette()[g % COLORS.length]));
  sets.push(set(chosen.filter((i) => (group.of[i] ?? -1) < 0), 'n/a', css('--none')));
  const ring = set(chosen.filter(outlier), 'outlier', css('--fail'));
  Object.assign(ring, { pointRadius: size + 4, backgroundColor: 'transparent', borderWidth: 2 });
  return [ring, ...sets].filter((one) => one.data.length);
}

// === Volumes ===

// What is selected: a structure, a measure, and the scans that have a value.
function view() {
  const s = data.keys.indexOf($('structure').value);
  const measure = data.measures[$('measure').value];
  const values = data.values[$('measure').value][s];
  const modality = $('modality').value;
  const kind = JUDGED[$('measure').value];
  const has = (i) => values !== null && values[i] !== null && (!modality || data.modality[i] === modality);
  const chosen = [...data.scan.keys()].filter(has);
  const lines = (i) => told(i, withUnit(values[i], measure.unit), outlierReasons.get(`${i} ${s}`) ?? []);
  const outlier = (i) => Boolean(outlierReasons.get(`${i} ${s}`)?.[kind]);
  const name = data.names[s];
  return { s, name, measure, values, modality, chosen, style: { color: $('color').value, lines, outlier }, title: [name, `${measure.short}, ${measure.unit}`] };
}
const single = (i, text) => `${data.scan[i]}: ${text}. One scan makes no chart.`;

function drawDistribution() {
  const { name, measure, values, modality, chosen, style, title } = view();
  if (!chosen.length) return say('distribution', `${name}: no ${measure.short} available.`);
  if (chosen.length === 1) return say('distribution', single(chosen[0], `${name}, ${measure.short} ${withUnit(values[chosen[0]], measure.unit)}`));
  // Side by side: the modalities, or, for one of them, what the colors tell apart.
  const group = data.groups[$('color').value] ?? { levels: [], of: [] };
  const columns = modality ? [...group.levels, 'n/a'] : data.modalities;
  const columnOf = (i) => (!modality ? data.modalities.indexOf(data.modality[i])
    : (group.of[i] ?? -1) >= 0 ? group.of[i] : columns.length - 1);
  const members = columns.map((_, c) => chosen.filter((i) => columnOf(i) === c));
  const used = [...columns.keys()].filter((c) => members[c].length);
  const boxes = used.map((c, at) => ({ at, quartiles: members[c].length < FEWEST_IN_BOX ? null : quartiles(members[c].map((i) => values[i])) }));
  return draw('distribution', points(chosen, (i) => used.indexOf(columnOf(i)) + jitter(i), (i) => values[i], style), {
    x: names(used.map((c) => `${columns[c]} (${members[c].length})`)), y: axis(title), boxes: boxes.filter((box) => box.quartiles),
  });
}

function drawTrend() {
  const { name, measure, values, chosen, style, title } = view();
  const against = $('against').value;
  const numbers = data.axes[against];
  const both = chosen.filter((i) => numbers[i] !== null);
  if (chosen.length < 2) return say('trend', chosen.length ? '' : `${name}: no ${measure.short} available.`);
  if (!both.length) return say('trend', `${against} is not available for these scans.`);
  return draw('trend', points(both, (i) => numbers[i], (i) => values[i], style), { x: axis(against), y: axis(title) });
}

function drawPairs() {
  const s = data.keys.indexOf($('structure').value);
  const words = $('agreement-words');
  words.textContent = '';
  if (!data.pairs.length) return say('pairs', 'No participant has two scans to compare.');
  const [a, b, places] = data.pairs[$('pair').value];
  const values = data.values.volume_mm3[s];
  const known = values === null ? [] : places.filter(([i, j]) => values[i] !== null && values[j] !== null);
  if (!known.length) return say('pairs', `${data.names[s]}: no volume available.`);
  const second = new Map(known.map(([i, j]) => [i, j]));
  const [n, difference, spread, concordance] = data.agreement[`${a} ${b}`][s];
  const first = a === b ? ['first', 'second'] : [a, b];
  if (known.length === 1) {
    const [i, j] = known[0];
    return say('pairs', `${data.names[s]}: ${withUnit(values[i], 'ml')} in ${data.scan[i]}, ${withUnit(values[j], 'ml')} in ${data.scan[j]}. One pair makes no chart.`);
  }
  words.textContent = difference === null
    ? `${data.names[s]}: ${n} pairs, too few for statistics of agreement. Line: equal volumes.`
    : `${data.names[s]}, ${n} pairs: ${first[0]} minus ${first[1]} ${rough(difference)} ± ${rough(spread)} ml (mean ± SD), concordance ${rough(concordance)}. Line: equal volumes.`;
  const all = known.flatMap(([i, j]) => [values[i], values[j]]);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const range = { suggestedMin: low, suggestedMax: high, grace: '3%' };
  const style = {
    color: $('color').value, outlier: (i) => Boolean(outlierReasons.get(`${i} ${s}`)?.[0]),
    lines: (i) => told(i, `${first[0]} ${withUnit(values[i], 'ml')}, ${first[1]} ${withUnit(values[second.get(i)], 'ml')}`, outlierReasons.get(`${i} ${s}`)),
  };
  return draw('pairs', points(known.map(([i]) => i), (i) => values[i], (i) => values[second.get(i)], style), {
    x: axis(`${data.names[s]}, ${first[0]}${a === b ? ` ${a}` : ''}, ml`, range), y: axis(`${first[1]}${a === b ? ` ${b}` : ''}, ml`, range),
    lines: [{ from: [low, low], to: [high, high], color: css('--soft') }],
  });
}

// === QC numbers ===

function drawQuality(id) {
  const chart = data.qc[$(id).dataset.place];
  const { values, unit } = chart;
  const chosen = [...data.scan.keys()].filter((i) => values[i] !== null);
  const used = data.modalities.filter((m) => chosen.some((i) => data.modality[i] === m));
  const of = (m) => chosen.filter((i) => data.modality[i] === m).map((i) => values[i]);
  const lines = used.flatMap((m, at) => (chart.bounds[m] ?? []).map(([level, bound]) => (
    { from: [at - 0.45, bound], to: [at + 0.45, bound], color: css(VERDICT[level]), dash: true })));
  // A threshold far from all values would press them flat; the text below names it all the same.
  const [low, high] = [Math.min(...chosen.map((i) => values[i])), Math.max(...chosen.map((i) => values[i]))];
  const reach = high - low || Math.abs(high) || 1;
  const near = lines.map(({ from }) => from[1]).filter((bound) => bound > low - 2 * reach && bound < high + 2 * reach);
  const boxes = used.map((m, at) => [at, of(m)]).filter(([, own]) => own.length >= FEWEST_IN_BOX).map(([at, own]) => ({ at, quartiles: quartiles(own) }));
  draw(id, points(chosen, (i) => used.indexOf(data.modality[i]) + jitter(i), (i) => values[i], {
    color: 'verdict', lines: (i) => told(i, withUnit(values[i], unit)), radius: chosen.length > 600 ? 2 : 3.5,
  }), {
    x: names(used), y: axis('', {
      suggestedMin: Math.min(low, ...near), suggestedMax: Math.max(high, ...near, low === high ? high + reach : high),
      min: low === 0 ? 0 : undefined, ticks: { maxTicksLimit: 5 },
    }),
    legend: false, small: true, boxes, lines,
  });
}

// Thresholds in words: once where all modalities share them.
function thresholds({ words }) {
  const used = data.modalities.filter((m) => words[m]);
  const kinds = new Set(data.modalities.map((m) => words[m]));
  if (!used.length) return '';
  return kinds.size === 1 ? words[used[0]] : used.map((m) => `${m}: ${words[m]}`).join('; ');
}
function layQuality() {
  if (data.scan.length < 2) {
    $('quality-words').textContent = 'With one scan there is nothing to compare; its QC numbers are on its page.';
    $('quality-more').hidden = true;
    return;
  }
  data.qc.forEach((chart, place) => {
    const figure = document.createElement('figure');
    const title = `${chart.title}${chart.unit ? `, ${chart.unit}` : ''}`;
    figure.innerHTML = `<figcaption title="${escape(chart.about)}">${escape(title)}</figcaption>`
      + `<div id="qc-${place}" class="plot" data-place="${place}" data-label="${escape(title)}"></div>`
      + `<small>${escape(thresholds(chart) || 'no threshold')}</small>`;
    $(Object.keys(chart.words).length ? 'quality-judged' : 'quality-others').append(figure);
    charts[`qc-${place}`] = () => drawQuality(`qc-${place}`);
  });
  $('quality-more').hidden = !$('quality-others').children.length;
}

// === Contact sheet ===

const badge = (kind) => (kind ? `<span class="badge ${escape(kind)}">${escape(WORDS[kind] ?? kind)}</span>` : '');

// A few dozen at first: thousands of pictures would take long to load, and the worst come first.
const FIRST = 24;
const MORE = 120;
const sheet = { chosen: [], laid: 0 };

function tile([name, , verdict, reasons, page, picture, why]) {
  const image = picture
    ? `<img loading="lazy" decoding="async" class="${escape(why)}" src="${escape(encodeURI(picture))}" alt="Slices of ${escape(name)}">`
    : `<p>${escape(why)}</p>`;
  const words = `<div>${badge(verdict)} <b>${escape(name)}</b></div>${reasons ? `<small>${escape(reasons)}</small>` : ''}`;
  return page
    ? `<a class="tile" href="${escape(address(page))}" title="${escape(reasons)}">${image}${words}</a>`
    : `<div class="tile" title="${escape(reasons)}">${image}${words}</div>`;
}
function layTiles(most) {
  const next = sheet.chosen.slice(sheet.laid, sheet.laid + most);
  $('sheet').insertAdjacentHTML('beforeend', next.map(tile).join(''));
  sheet.laid += next.length;
  const left = sheet.chosen.length - sheet.laid;
  $('sheet-words').textContent = !sheet.chosen.length ? 'No scan is both.' : left > 0 ? `${sheet.laid} of ${sheet.chosen.length} scans.` : '';
  $('sheet-more').hidden = left <= 0;
  $('sheet-more').textContent = `Show ${Math.min(left, MORE)} more`;
  $('sheet-all').hidden = left <= MORE;
}
function filterSheet() {
  const [modality, verdict] = [$('sheet-modality').value, $('sheet-verdict').value];
  sheet.chosen = data.sheet.filter((one) => (!modality || one[1] === modality) && (!verdict || one[2] === verdict));
  sheet.laid = 0;
  $('sheet').replaceChildren();
  layTiles(FIRST);
}
$('sheet-more').addEventListener('click', () => layTiles(MORE));
$('sheet-all').addEventListener('click', () => layTiles(Infinity));
$('sheet').addEventListener('error', ({ target }) => {
  const lost = document.createElement('p');
  lost.textContent = `${decodeURI(target.getAttribute('src'))} cannot be opened. Keep this page beside the folders of the participants.`;
  target.replaceWith(lost);
}, true);

// === Tables ===

const link = (text, page) => (page ? `<a href="${escape(address(page))}">${escape(text)}</a>` : escape(text));
const shown = (html) => (value, type, row) => (type === 'display' ? html(value, row) : value ?? '');
const options = { deferRender: true, pageLength: 25, order: [], autoWidth: false, language: { emptyTable: 'None' } };
const when = { 0: shown((value, row) => link(value, row.at(-1))) };
const tables = [];
// A table of one sheet needs no search and no pages.
function table(id, more) {
  const long = more.data.length > (more.pageLength ?? options.pageLength);
  tables.push(new DataTable(`#${id}`, { ...options, ...more, searching: long, paging: long, info: long }));
}
const MOST_NAMED = window.innerWidth < 760 ? 1 : 3;

function drawTables() {
  const { titles, rows } = data.rows;
  const wide = { Reasons: 'reason', Ratings: 'reason', Scanner: 'scanner' };
  table('scan-table', { data: rows, columns: titles.map((title, c) => ({
    title: escape(title),
    className: wide[title] ?? (rows.some((row) => typeof row[c] === 'number') ? 'n' : ''),
    render: when[c] ?? shown((value) => (title === 'Verdict' ? badge(value) : typeof value === 'number' ? decimals(value, title) : escape(value))),
  })) });
  const verdict = data.groups.verdict;
  const words = (entries) => `<ul>${entries.map(([s, why]) => `<li><b>${escape(data.names[s])}</b>: ${escape(why.filter(Boolean).join('; '))}</li>`).join('')}</ul>`;
  const worst = (entries) => words(entries.slice(0, MOST_NAMED)) + (entries.length > MOST_NAMED
    ? `<details><summary>${entries.length - MOST_NAMED} more</summary>${words(entries.slice(MOST_NAMED))}</details>` : '');
  table('outlier-table', { pageLength: 10,
    data: data.outliers.map(([i, entries]) => [data.scan[i], data.modality[i], verdict?.levels[verdict.of[i]] ?? '', entries.length, entries, data.page[i]]),
    columns: [{ title: 'Scan', render: when[0] }, { title: 'Modality' }, { title: 'Verdict', render: shown(badge) },
      { title: 'Structures', className: 'n' },
      { title: 'The most extreme', className: 'reason', orderable: false,
        render: (entries, type) => (type === 'display' ? worst(entries) : entries.map(([s, why]) => `${data.names[s]} ${why.join(' ')}`).join(' ')) }] });
  if ($('disagreement-table')) {
    const said = (ratings) => ratings.map(([rater, rating, note, again]) => `${badge(rating)} ${escape(rater)}`
      + `${note ? `: ${escape(note)}` : ''}${again ? ' <i>(before the scan was processed again)</i>' : ''}`).join('<br>');
    table('disagreement-table', { pageLength: 10, data: data.disagreeing,
      columns: [{ title: 'Scan', render: when[0] }, { title: 'Modality' }, { title: 'Verdict', render: shown(badge) },
        { title: 'Ratings', className: 'reason', orderable: false, render: (ratings, type) => (type === 'display' ? said(ratings) : ratings.flat().join(' ')) }] });
  }
  table('missing-table', { pageLength: 10,
    data: [...data.missing.map((row) => [...row, '']), ...data.missing_scans],
    columns: [{ title: 'Participant or scan', render: when[0] }, { title: 'Status', render: shown(badge) },
      { title: 'Reason', className: 'reason', render: shown(escape) }] });
}

// === Charts are drawn when they come into view: thousands of points take a while ===

const charts = { distribution: drawDistribution, trend: drawTrend, pairs: drawPairs };
const stale = new Set();
const visible = new Set();
function refresh(ids) {
  for (const id of ids) if (stale.delete(id)) charts[id]();
}
function show(ids = Object.keys(charts)) {
  root.classList.toggle('dark', isDark());
  ids.forEach((id) => stale.add(id));
  refresh(visible);
}

if (data.scan.length < 2) $('volumes-words').hidden = $('against').closest('label').hidden = true;
if (!data.pairs.length) drawPairs();
layQuality();
restore();
filterSheet();
show();
drawTables();
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) visible.add(target.id); else visible.delete(target.id);
  }
  refresh(visible);
}, { rootMargin: '100px' });
Object.keys(charts).forEach((id) => observer.observe($(id)));
root.dataset.ready = Math.round(performance.now());

// === Paper ===

const chosenText = (id) => $(id).selectedOptions[0]?.text;
let lengths = [];
function toPaper() {
  root.classList.add('paper');
  $('chosen').textContent = [['Structure', 'structure'], ['Measure', 'measure'], ['Modality', 'modality'], ['Color', 'color']]
    .filter(([, id]) => chosenText(id)).map(([name, id]) => `${name}: ${chosenText(id)}.`).join(' ');
  lengths = tables.map((one) => [one, one.page.info()]);
  for (const [one, info] of lengths) if (info.recordsDisplay <= PAPER_ROWS) one.page.len(-1).draw(false);
  show();
  refresh(Object.keys(charts).filter((id) => $(id).offsetParent !== null));
}
function fromPaper() {
  root.classList.remove('paper');
  for (const [one, info] of lengths) one.page.len(info.length).page(info.page).draw(false);
  show();
}
window.addEventListener('beforeprint', toPaper);
window.addEventListener('afterprint', fromPaper);
for (const id of CONTROLS) {
  $(id).addEventListener('change', () => {
    keep();
    if (id.startsWith('sheet')) filterSheet(); else show(['distribution', 'trend', 'pairs']);
  });
}
dark.addEventListener('change', () => show());
window.addEventListener('hashchange', () => { if (location.hash.includes('=')) { restore(); filterSheet(); show(); } });
