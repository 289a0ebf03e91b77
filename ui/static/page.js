// What a whole page does: the address, scrolling, the menu on a phone, and an ended session.
// Gradio puts a page's head in twice, so all of it stands behind this question.
if (!window.tailorbird) {
  window.tailorbird = {
    // The conversation is in the address, so that a reload or another tab finds it.
    address(wanted) {
      const now = location.pathname + location.search;
      const next = location.pathname + wanted;
      if (now === next) return;
      const first = !location.search;
      history[first ? 'replaceState' : 'pushState'](null, '', next);
    },
    // Stay at the end of a growing answer unless the reader has scrolled up.
    follow() {
      const root = document.scrollingElement;
      if (root.scrollHeight - root.scrollTop - root.clientHeight < 240) root.scrollTop = root.scrollHeight;
    },
    end() {
      requestAnimationFrame(() => { document.scrollingElement.scrollTop = document.scrollingElement.scrollHeight; });
    },
  };

  window.addEventListener('popstate', () => location.reload());

  // The class is put on the list itself: Gradio confines our style sheet to what is inside its own container.
  const side = () => document.getElementById('side');
  document.addEventListener('click', (event) => {
    if (event.target.closest('[data-menu]')) side()?.classList.toggle('open');
    else if (!event.target.closest('#side details, #side form')) side()?.classList.remove('open');
    for (const pop of document.querySelectorAll('#side details[open], .me[open]')) {
      if (!pop.contains(event.target)) pop.open = false;
    }
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') side()?.classList.remove('open');
  });

  // A session that ended while the page was open leads to the sign-in page, not to a mute button.
  const plain = window.fetch;
  window.fetch = async (...request) => {
    const response = await plain(...request);
    if (response.status === 401 && response.url.startsWith(location.origin)) {
      location.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    }
    return response;
  };
}
