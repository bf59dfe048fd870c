/* SPDX-License-Identifier: Apache-2.0
   One slice of a figure, as large as the window: by a click on it, or with the keyboard. */
(() => {
  'use strict';
  const dialog = document.querySelector('dialog.enlarged');
  const [words, place] = [dialog.querySelector('output'), dialog.querySelector('div')];
  let slices = [];
  let chosen = 0;

  const number = (element, name) => Number(element.getAttribute(name));

  /* Place and label of each slice of a figure, as they are read. */
  function list(svg) {
    const labels = [...svg.querySelectorAll('.bb-marks text')];
    return [...svg.querySelectorAll('.bb-scan image')].map((picture, n) => ({
      box: ['x', 'y', 'width', 'height'].map((name) => number(picture, name)),
      label: labels[3 * n] ? labels[3 * n].textContent : '',
    }));
  }

  function show(n) {
    chosen = (n + slices.length) % slices.length;
    const svg = place.firstChild;
    const [, , width, height] = slices[chosen].box;
    const scale = Math.min(place.clientWidth / width, place.clientHeight / height); // no neighbor shows
    svg.setAttribute('viewBox', slices[chosen].box.join(' '));
    Object.assign(svg.style, { width: `${width * scale}px`, height: `${height * scale}px` });
    words.textContent = `${slices[chosen].label} mm \u00b7 slice ${chosen + 1} of ${slices.length}`;
  }

  function open(figure, n) {
    const svg = figure.querySelector('svg');
    slices = list(svg);
    const copy = svg.cloneNode(true);
    place.replaceChildren(copy);
    // what the boxes beside the figure switch on and off
    dialog.classList.toggle('reference', Boolean(figure.closest('.part').querySelector('input.show:checked')));
    dialog.classList.toggle('bare', Boolean(figure.closest('.part').querySelector('input.outlines:not(:checked)')));
    dialog.showModal();
    show(n);
  }

  /* The slice at a point of the window. */
  function at(svg, { clientX, clientY }) {
    const point = new DOMPoint(clientX, clientY).matrixTransform(svg.getScreenCTM().inverse());
    return list(svg).findIndex(({ box: [x, y, w, h] }) => point.x >= x && point.x < x + w && point.y >= y && point.y < y + h);
  }

  document.querySelectorAll('.figure').forEach((figure) => {
    const svg = figure.querySelector('svg');
    if (!svg || !svg.querySelector('.bb-scan image')) return;
    figure.tabIndex = 0;
    figure.setAttribute('aria-label', `${svg.querySelector('title').textContent}; Enter enlarges a slice`);
    figure.addEventListener('click', (event) => {
      const n = at(svg, event);
      if (n >= 0) open(figure, n);
    });
    figure.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      open(figure, 0);
    });
  });
  dialog.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    show(chosen + by);
  });
  dialog.addEventListener('click', ({ target }) => {
    if (target === dialog || target.matches('.close')) dialog.close();
  });
})();
