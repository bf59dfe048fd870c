/* SPDX-License-Identifier: Apache-2.0
   Buttons that copy the text of an element. */
document.querySelectorAll('button.copy').forEach((button) => {
  button.addEventListener('click', async () => {
    const source = document.getElementById(button.dataset.of);
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(source.innerText.trim());
      button.textContent = 'copied';
    } catch { // a browser that lets no page write to the clipboard
      getSelection().selectAllChildren(source);
      button.textContent = 'selected: press Ctrl+C';
    }
    setTimeout(() => { button.textContent = words; }, 3000);
  });
});
