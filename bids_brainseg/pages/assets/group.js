/* SPDX-License-Identifier: Apache-2.0
   Charts and tables of the group page. `jQuery` brings DataTables; `Plotly` and the data are on the page. */
const data = JSON.parse(document.getElementById('data').textContent);
const $ = (id) => document.getElementById(id);
// Okabe and Ito's colors, safe for color-blind readers, without black and yellow, which vanish in one of the themes.
const palette = () => (isDark() ? ['#5aa9e6', '#f0803c', '#2fbf95', ...COLORS.slice(3)] : COLORS);
const COLORS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8c6bb1', '#a6761d',
  '#66a61e', '#e7298a', '#1b9e77', '#7f7f7f'];
const BUTTONS = ['toImage', 'zoom2d', 'pan2d', 'zoomIn2d', 'zoomOut2d', 'resetScale2d'];
const CONTROLS = ['structure', 'measure', 'modality', 'color', 'against', 'pair'];
const dark = window.matchMedia('(prefers-color-scheme: dark)');
// On paper, colors are light, charts fit the sheet, and short tables are shown in full.
const PAPER = { width: 940, height: 340 };
const PAPER_ROWS = 200;
const root = document.documentElement;
const onPaper = () => root.classList.contains('paper');
const isDark = () => dark.matches && !onPaper();
const reasons = new Map(data.outliers.map(([scan, structure, why]) => [`${scan} ${structure}`, why]));

const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const escape = (text) => String(text ?? '').replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const number = (value) => (value === null ? 'n/a' : value.toLocaleString('en', { maximumSignificantDigits: 5 }).replace('-', '−'));
const digits = { 'Brain, ml': 1, 'Ventricles, ml': 1, 'eTIV, ml': 1, 'Mean CV, %': 2, Alignment: 2 };
const decimals = (value, title) => value.toLocaleString('en', { minimumFractionDigits: digits[title] ?? 0 });
// Which score puts a ring around a point of each measure: 0 volume, 1 residual, 2 asymmetry.
const JUDGED = { volume: 0, percent: 1, residual: 1, asymmetry: 2 };

// === Controls ===

function fill(id, options) {
  $(id).replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  $(id).closest('label').hidden = options.length === 0;
}

const hasValues = (measure) => data.values[measure].some((list) => list !== null);
fill('structure', data.keys.map((key, i) => [key, data.names[i]]));
fill('measure', Object.entries(data.measures).filter(([key]) => hasValues(key)).map(([key, m]) => [key, `${m.name}, ${m.unit}`]));
fill('modality', [...(data.modalities.length > 1 ? [['', 'all']] : []), ...data.modalities.map((m) => [m, m])]);
fill('color', Object.keys(data.groups).map((name) => [name, name]));
fill('against', Object.keys(data.axes).map((name) => [name, name]));
fill('pair', data.pairs.map(([a, b, places], i) => [i, `${a === b ? `${a}, repeated` : `${a} and ${b}`} (${places.length})`]));

// The choices are kept in the address, so that a view can be bookmarked and shared.
function restore() {
  const chosen = new URLSearchParams(location.hash.slice(1));
  const usual = { structure: 'Left-Hippocampus', color: data.groups.scanner ? 'scanner' : 'verdict' };
  for (const id of CONTROLS) {
    const value = chosen.get(id) ?? usual[id];
    if (value !== undefined && [...$(id).options].some((option) => option.value === value)) $(id).value = value;
  }
}
function keep() {
  const chosen = new URLSearchParams(CONTROLS.filter((id) => $(id).value !== '').map((id) => [id, $(id).value]));
  history.replaceState(null, '', `#${chosen}`);
}

// === Charts ===

const layout = (more) => ({
  font: { family: getComputedStyle(document.body).fontFamily, color: css('--ink'), size: 13 },
  paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', margin: { l: 80, r: 20, t: 20, b: 60 },
  hovermode: 'closest', hoverlabel: { bgcolor: css('--card'), bordercolor: css('--line'), font: { color: css('--ink') }, align: 'left' },
  modebar: { bgcolor: 'rgba(0,0,0,0)', color: css('--line'), activecolor: css('--soft') },
  legend: { orientation: 'h', y: 1.02, yanchor: 'bottom' }, ...(onPaper() ? PAPER : {}), ...more,
});
const axis = (title, more) => ({ title: { text: title }, gridcolor: css('--line'), zerolinecolor: css('--line'), linecolor: css('--line'), automargin: true, ...more });

function draw(id, traces, options) {
  $(id).classList.remove('empty');
  Plotly.react(id, traces, layout(options), { displaylogo: false, responsive: true, modeBarButtons: [BUTTONS] })
    .then(() => { $(id).dataset.drawn = Math.round(performance.now()); });
  if (!$(id).dataset.links) {
    $(id).dataset.links = 'yes';
    $(id).on('plotly_click', ({ points, event }) => {
      const page = data.page[points[0].customdata];
      if (!page) return;
      if (event.ctrlKey || event.metaKey) window.open(encodeURI(page)); else location.href = encodeURI(page);
    });
  }
}
function say(id, text) {
  Plotly.purge(id);
  delete $(id).dataset.links;
  $(id).classList.add('empty');
  $(id).textContent = text;
}

// Spread points sideways, the same way every time.
const jitter = (i) => ((Math.imul(i + 1, 2654435761) >>> 0) / 2 ** 32 - 0.5) * 0.6;

function hover(i, s, value, unit) {
  const why = reasons.get(`${i} ${s}`);
  const lines = [`<b>${escape(data.scan[i])}</b>`, `${number(value)} ${unit}`];
  for (const [name, group] of Object.entries(data.groups)) {
    if (group.of[i] >= 0) lines.push(`${escape(name)}: ${escape(group.levels[group.of[i]])}`);
  }
  if (why) lines.push(...why.filter(Boolean).map(escape));
  return lines.join('<br>');
}

// One trace for each color, and a ring around each outlier.
function points(chosen, s, values, unit, kind, x, y) {
  const group = data.groups[$('color').value] ?? { levels: [], of: [] };
  const tones = { pass: css('--pass'), review: css('--review'), fail: css('--fail') };
  const trace = (own, name, color) => ({
    type: 'scatter', mode: 'markers', name, x: own.map(x), y: own.map(y), customdata: own, hoverinfo: 'text',
    text: own.map((i) => hover(i, s, values[i], unit)),
    marker: { color, size: chosen.length > 600 ? 5 : 8, opacity: 0.75 },
  });
  const traces = group.levels.map((level, g) => trace(
    chosen.filter((i) => group.of[i] === g), level,
    $('color').value === 'verdict' ? tones[level] ?? css('--none') : palette()[g % COLORS.length]));
  traces.push(trace(chosen.filter((i) => (group.of[i] ?? -1) < 0), 'n/a', css('--none')));
  const marked = trace(chosen.filter((i) => reasons.get(`${i} ${s}`)?.[kind]), 'outlier', css('--fail'));
  Object.assign(marked.marker, { symbol: 'circle-open', size: 14, opacity: 1, line: { width: 2 } });
  return [...traces, marked].filter((t) => t.x.length);
}

// What is selected: a structure, a measure, and the scans that have a value.
function view() {
  const s = data.keys.indexOf($('structure').value);
  const measure = data.measures[$('measure').value];
  const values = data.values[$('measure').value][s];
  const modality = $('modality').value;
  const has = (i) => values !== null && values[i] !== null && (!modality || data.modality[i] === modality);
  return { s, measure, values, modality, kind: JUDGED[$('measure').value], chosen: [...data.scan.keys()].filter(has),
    title: `${data.names[s]}<br>${measure.short}, ${measure.unit}`, unknown: `${data.names[s]}: no ${measure.short} available.` };
}

function drawDistribution() {
  const { s, measure, values, modality, kind, chosen, title, unknown } = view();
  if (!chosen.length) return say('distribution', unknown);
  // Side by side: the modalities, or, for one of them, what the colors tell apart.
  const group = data.groups[$('color').value] ?? { levels: [], of: [] };
  const columns = modality ? [...group.levels, 'n/a'] : data.modalities;
  const columnOf = (i) => (!modality ? data.modalities.indexOf(data.modality[i])
    : (group.of[i] ?? -1) >= 0 ? group.of[i] : columns.length - 1);
  const members = columns.map((_, c) => chosen.filter((i) => columnOf(i) === c));
  const used = [...columns.keys()].filter((c) => members[c].length);
  const boxes = used.map((c, place) => ({
    type: 'box', x0: place, y: members[c].map((i) => values[i]), boxpoints: false, hoverinfo: 'skip', showlegend: false,
    line: { color: css('--soft'), width: 1 }, fillcolor: 'rgba(128,128,128,0.12)', width: 0.75,
  }));
  const x = (i) => used.indexOf(columnOf(i)) + jitter(i);
  return draw('distribution', [...boxes, ...points(chosen, s, values, measure.unit, kind, x, (i) => values[i])], {
    xaxis: axis('', { tickvals: [...used.keys()], ticktext: used.map((c) => `${escape(columns[c])} (${members[c].length})`),
      range: [-0.6, used.length - 0.4], zeroline: false }),
    yaxis: axis(title, { tickformat: ',.9~g' }),
  });
}

function drawTrend() {
  const { s, measure, values, kind, chosen, title, unknown } = view();
  const against = $('against').value;
  const numbers = data.axes[against];
  const both = chosen.filter((i) => numbers[i] !== null);
  if (!both.length) return say('trend', chosen.length ? `${against} is not available for these scans.` : unknown);
  return draw('trend', points(both, s, values, measure.unit, kind, (i) => numbers[i], (i) => values[i]), {
    xaxis: axis(against, { tickformat: ',.9~g' }), yaxis: axis(title, { tickformat: ',.9~g' }),
  });
}

function drawPairs() {
  const s = data.keys.indexOf($('structure').value);
  if (!data.pairs.length) return say('pairs', 'No participant has two scans to compare.');
  const [a, b, places] = data.pairs[$('pair').value];
  const values = data.values.volume[s];
  const known = values === null ? [] : places.filter(([i, j]) => values[i] !== null && values[j] !== null);
  if (!known.length) return say('pairs', `${data.names[s]}: no volume available.`);
  const second = new Map(known.map(([i, j]) => [i, j]));
  const [n, difference, spread, concordance] = data.agreement[`${a} ${b}`][s];
  const first = a === b ? ['first', 'second'] : [a, b];
  $('agreement-words').textContent = difference === null
    ? `${data.names[s]}: ${n} ${n === 1 ? 'pair' : 'pairs'}, too few for statistics of agreement. Line: equal volumes.`
    : `${data.names[s]}, ${n} pairs: ${first[0]} minus ${first[1]} ${number(difference)} ± ${number(spread)} mm³ (mean ± SD), concordance ${number(concordance)}. Line: equal volumes.`;
  const all = known.flatMap(([i, j]) => [values[i], values[j]]);
  const ends = [Math.min(...all), Math.max(...all)];
  const line = { type: 'scatter', mode: 'lines', x: ends, y: ends, hoverinfo: 'skip', showlegend: false, line: { color: css('--soft'), width: 1 } };
  return draw('pairs', [line, ...points(known.map(([i]) => i), s, values, 'mm³', 0, (i) => values[i], (i) => values[second.get(i)])], {
    xaxis: axis(`${data.names[s]}, ${first[0]}${a === b ? ` ${a}` : ''}, mm³`, { tickformat: ',.9~g' }),
    yaxis: axis(`${first[1]}${a === b ? ` ${b}` : ''}, mm³`, { tickformat: ',.9~g' }),
  });
}

// === Tables ===

const link = (text, page) => (page ? `<a href="${escape(encodeURI(page))}">${escape(text)}</a>` : escape(text));
const shown = (html) => (value, type, row) => (type === 'display' ? html(value, row) : value ?? '');
const WORDS = { pass: 'Pass', review: 'Review', fail: 'Fail', failed: 'Failed', skipped: 'Skipped', broken: 'Broken', missing: 'Missing', partial: 'Partial', outdated: 'Outdated' };
const badge = (kind) => `<span class="badge ${escape(kind)}">${escape(WORDS[kind] ?? kind)}</span>`;
const options = { deferRender: true, pageLength: 25, order: [], autoWidth: false, language: { emptyTable: 'None' } };
const when = { 0: shown((value, row) => link(value, row.at(-1))) };

function drawTables() {
  const { titles, rows } = data.rows;
  jQuery('#scan-table').DataTable({ ...options, data: rows, columns: titles.map((title, c) => ({
    title: escape(title),
    className: rows.some((row) => typeof row[c] === 'number') ? 'n' : '',
    render: when[c] ?? shown((value) => (title === 'Verdict' ? badge(value) : typeof value === 'number' ? decimals(value, title) : escape(value))),
  })) });
  jQuery('#outlier-table').DataTable({ ...options, pageLength: 10,
    data: data.outliers.map(([i, s, why]) => [data.scan[i], data.modality[i], data.names[s], why.filter(Boolean).join('; '), data.page[i]]),
    columns: [{ title: 'Scan', className: 'name', render: when[0] }, { title: 'Modality' }, { title: 'Structure' },
      { title: 'Reason', className: 'reason', render: shown(escape) }] });
  jQuery('#missing-table').DataTable({ ...options, pageLength: 10,
    data: [...data.missing.map((row) => [...row, '']), ...data.missing_scans],
    columns: [{ title: 'Participant or scan', className: 'name', render: when[0] }, { title: 'Status', render: shown(badge) },
      { title: 'Reason', className: 'reason', render: shown(escape) }] });
}

// === Charts are drawn when they come into view: thousands of points take a while ===

const charts = { distribution: drawDistribution, trend: drawTrend, pairs: drawPairs };
const stale = new Set();
const visible = new Set();
function refresh(ids) {
  for (const id of ids) if (stale.delete(id)) charts[id]();
}
function show() {
  root.classList.toggle('dark', isDark());
  Object.keys(charts).forEach((id) => stale.add(id));
  refresh(visible);
}

restore();
show();
drawTables();
root.dataset.ready = Math.round(performance.now());
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) visible.add(target.id); else visible.delete(target.id);
  }
  refresh(visible);
}, { rootMargin: '100px' });
Object.keys(charts).forEach((id) => observer.observe($(id)));

// === Paper ===

const chosenText = (id) => $(id).selectedOptions[0]?.text;
let lengths = [];
function toPaper() {
  root.classList.add('paper');
  $('chosen').textContent = [['Structure', 'structure'], ['Measure', 'measure'], ['Modality', 'modality'], ['Color', 'color']]
    .filter(([, id]) => chosenText(id)).map(([name, id]) => `${name}: ${chosenText(id)}.`).join(' ');
  lengths = [...document.querySelectorAll('table.dataTable')].map((node) => jQuery(node).DataTable()).map((table) => [table, table.page.info()]);
  for (const [table, info] of lengths) if (info.recordsDisplay <= PAPER_ROWS) table.page.len(-1).draw(false);
  show();
  refresh(Object.keys(charts));
}
function fromPaper() {
  root.classList.remove('paper');
  for (const [table, info] of lengths) table.page.len(info.length).page(info.page).draw(false);
  show();
}
window.addEventListener('beforeprint', toPaper);
window.addEventListener('afterprint', fromPaper);
for (const id of CONTROLS) $(id).addEventListener('change', () => { keep(); show(); });
dark.addEventListener('change', show);
window.addEventListener('hashchange', () => { if (location.hash.includes('=')) { restore(); show(); } });
