/* SPDX-License-Identifier: Apache-2.0
   A reader's own verdict on each scan: kept in the browser until it is downloaded as JSON or TSV. */
(() => {
  'use strict';
  const panel = document.getElementById('ratings');
  const forms = [...document.querySelectorAll('.rating')];
  const { participant } = panel.dataset;
  const key = `bids_brainseg rating of ${participant} in ${location.pathname}`;
  const [rater, status] = [panel.querySelector('input'), panel.querySelector('output')];
  const COLUMNS = [
    'participant_id', 'scan', 'verdict', 'note', 'rater', 'rated_at', 'bids_brainseg_verdict', 'bids_brainseg_version',
  ];

  /* What the browser kept; nothing where it keeps nothing for pages. */
  function stored() {
    try {
      return JSON.parse(localStorage.getItem(key)) || {};
    } catch {
      return {};
    }
  }

  function store(content) {
    try {
      if (content) localStorage.setItem(key, JSON.stringify(content));
      else localStorage.removeItem(key);
      return true;
    } catch {
      return false;
    }
  }

  const chosen = (form) => form.querySelector('input:checked')?.value || '';

  const entry = (form) => ({
    verdict: chosen(form), note: form.querySelector('textarea').value.trim(), rated_at: form.dataset.ratedAt,
  });

  function rows() {
    return forms.filter(chosen).map((form) => ({
      participant_id: participant,
      scan: form.dataset.scan,
      verdict: entry(form).verdict,
      note: entry(form).note,
      rater: rater.value.trim(),
      rated_at: entry(form).rated_at,
      bids_brainseg_verdict: form.dataset.verdict,
      bids_brainseg_version: form.dataset.version,
    }));
  }

  function tell(words) {
    const n = rows().length;
    status.textContent = `${n} of ${forms.length} scans rated${words ? `; ${words}` : ''}`;
    panel.querySelectorAll('button').forEach((button) => { button.disabled = !n; });
  }

  function keep() {
    const scans = Object.fromEntries(forms.map((form) => [form.dataset.scan, entry(form)]));
    tell(store({ rater: rater.value, scans })
      ? 'kept in this browser, not downloaded yet'
      : 'this browser keeps nothing for pages, so download before you close it');
  }

  const cell = (text) => String(text).replace(/\s+/g, ' ').trim() || 'n/a';
  const FORMATS = {
    json: () => `${JSON.stringify(rows(), null, 2)}\n`,
    tsv: () => [COLUMNS, ...rows().map((row) => COLUMNS.map((name) => cell(row[name])))]
      .map((line) => `${line.join('\t')}\n`).join(''),
  };

  function download(format) {
    const link = document.createElement('a');
    const type = { json: 'application/json', tsv: 'text/tab-separated-values' }[format];
    link.href = URL.createObjectURL(new Blob([FORMATS[format]()], { type }));
    link.download = `${participant}_rating.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    store(null);
    tell(`downloaded as ${link.download}; put it into the folder of the derivatives for the group level`);
  }

  const kept = stored();
  rater.value = kept.rater || '';
  forms.forEach((form) => {
    const { verdict, note, rated_at: when } = (kept.scans || {})[form.dataset.scan] || {};
    const box = [...form.querySelectorAll('input')].find((input) => input.value === verdict);
    if (box) box.checked = true;
    form.querySelector('textarea').value = note || '';
    if (when) form.dataset.ratedAt = when;
    form.addEventListener('input', () => {
      form.dataset.ratedAt = `${new Date().toISOString().slice(0, 19)}Z`;
      keep();
    });
  });
  rater.addEventListener('input', keep);
  panel.querySelectorAll('button').forEach((button) => {
    button.addEventListener('click', () => download(button.dataset.format));
  });
  tell(kept.scans ? 'kept in this browser, not downloaded yet' : '');
})();
