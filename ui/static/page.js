// What a whole page does: the address, scrolling, the menu on a phone, and a question that is not sent yet.
// Gradio puts a page's head in twice, so all of it stands behind this question.
if (!window.tailorbird) {
  window.tailorbird = {
    // Where somebody is stands in the address, so that a reload, another tab or a colleague comes there. What a page
    // makes of the address it was opened with is no step of theirs.
    address(wanted) {
      arrived();
      const now = location.pathname + location.search;
      const next = location.pathname + wanted;
      const first = !location.search || !this.opened;
      this.opened = true;
      if (now !== next) history[first ? 'replaceState' : 'pushState'](null, '', next);
    },
    // Stay at the end of a growing answer unless the reader has scrolled up. Its question has arrived.
    follow() {
      taken();
      const root = document.scrollingElement;
      if (root.scrollHeight - root.scrollTop - root.clientHeight < 240) root.scrollTop = root.scrollHeight;
    },
    // Formulas are set by Gradio's own KaTeX, fetched from this server when the first one comes.
    formula(element) {
      if (!this.katex && window.tailorbirdMaths?.js) {
        const sheet = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: window.tailorbirdMaths.css });
        document.head.append(sheet);
        this.katex = import(window.tailorbirdMaths.js).then((module) => { this.set = module.default; }, () => {});
      }
      const draw = () => {
        if (!this.set || !element.isConnected) return;
        const displayMode = element.dataset.display === 'true';
        this.set.render(element.dataset.tex, element, { displayMode, throwOnError: false, strict: false, trust: false });
      };
      if (this.set) draw();
      else this.katex?.then(draw);
    },
    // For who hears the page: one sentence when an answer is begun and one when it is there.
    tell(sentence) {
      let region = document.getElementById('told');
      if (!region) {
        region = Object.assign(document.createElement('div'), { id: 'told' });
        region.setAttribute('role', 'status');
        document.body.append(region);
      }
      if (region.textContent !== sentence) region.textContent = sentence;
    },
    end() {
      taken();
      requestAnimationFrame(() => { document.scrollingElement.scrollTop = document.scrollingElement.scrollHeight; });
    },
  };

  // The menu of pages on a phone.
  const unfold = (open) => document.querySelector('[data-pages]')?.setAttribute('aria-expanded', String(open));
  const unfolded = () => document.querySelector('[data-pages][aria-expanded=true]');

  const POPS = '#side details[open], .me[open], .settled .menu[open]';
  window.addEventListener('popstate', () => location.reload());

  // The class is put on the list itself: Gradio confines our style sheet to what is inside its own container.
  const side = () => document.getElementById('drawer');
  document.addEventListener('click', (event) => {
    if (event.target.closest('[data-menu]')) side()?.classList.toggle('open');
    else if (!event.target.closest('#drawer details, #drawer form')) side()?.classList.remove('open');
    unfold(Boolean(event.target.closest('[data-pages]')) && !unfolded());
    for (const pop of document.querySelectorAll(POPS)) {
      if (!pop.contains(event.target)) pop.open = false;
    }
    // The other language shows the same conversation.
    const language = event.target.closest('a[href^="/language"]');
    if (language) language.search = new URLSearchParams({ to: language.lang, next: new URL(language.href).searchParams.get('next') + location.search });
    const look = event.target.closest('button[data-look]');
    if (look) choose(look.dataset.look);
  });
  document.addEventListener('focusin', (event) => {
    if (!unfolded()?.parentElement.contains(event.target)) unfold(false);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    side()?.classList.remove('open');
    if (unfolded()?.parentElement.contains(document.activeElement)) unfolded().focus();
    unfold(false);
    for (const pop of document.querySelectorAll(POPS)) {
      const inside = pop.contains(document.activeElement);
      pop.open = false;
      if (inside) pop.querySelector('summary').focus();
    }
  });

  // Light or dark, as this person chose for this browser; else as the system is.
  const paint = () => {
    const look = /(?:^|; )tailorbird_look=(light|dark)/.exec(document.cookie)?.[1] ?? '';
    document.documentElement.style.colorScheme = look || 'light dark';
    if (look) document.documentElement.dataset.look = look;
    else delete document.documentElement.dataset.look;
    // Gradio asks the system once, when it starts; its own components go by this class.
    const dark = look ? look === 'dark' : window.matchMedia('(prefers-color-scheme: dark)').matches;
    document.body?.classList.toggle('dark', dark);
    for (const button of document.querySelectorAll('button[data-look]')) {
      button.setAttribute('aria-pressed', String(button.dataset.look === look));
    }
  };
  const choose = (look) => {
    document.cookie = `tailorbird_look=${look}; path=/; max-age=31536000; samesite=lax`;
    paint();
  };
  paint();
  window.tailorbird.paint = paint;

  // What was typed but not sent is for nobody else who signs in here.
  document.addEventListener('submit', ({ target }) => {
    if (target.getAttribute('action') === '/logout') sessionStorage.clear();
  });

  // A question that was typed but not sent outlives a reload of its conversation.
  let early = false, sent = '';
  const place = () => `question:${location.search}`;
  const isComposer = (target) => target.closest?.('#composer') && target.tagName === 'TEXTAREA';
  document.addEventListener('input', (event) => {
    if (isComposer(event.target)) sessionStorage.setItem(place(), event.target.value);
  });
  const SEND = '#composer .submit-button';
  const send = (event) => {
    const entered = event.key === 'Enter' && !event.shiftKey && isComposer(event.target);
    if (!entered && !event.target.closest?.(SEND)) return;
    // While an answer grows the next question waits in its field.
    if (document.querySelector('#growing [aria-busy=true]')) {
      event.preventDefault();
      return event.stopImmediatePropagation();
    }
    if (document.querySelector('#main [data-address]')) return sent = place();
    // Sent before its conversation is on the screen it would begin another one: it waits.
    event.preventDefault();
    event.stopImmediatePropagation();
    early = true;
  };
  // It is forgotten when it is seen to have arrived, so that one sent into a dead connection is not lost.
  const taken = () => {
    if (sent) sessionStorage.removeItem(sent);
    sent = '';
  };
  let restored = false;
  const restore = () => {
    const field = document.querySelector('#composer textarea'), kept = sessionStorage.getItem(place());
    if (restored || !field) return;
    restored = true;
    const last = [...document.querySelectorAll('#thread .question')].at(-1)?.textContent ?? '';
    if (!kept || field.value || last.trim() === kept.trim()) return;
    field.value = kept;
    field.dispatchEvent(new Event('input', { bubbles: true }));
  };
  const arrived = () => {
    restore();
    if (early) window.setTimeout(() => document.querySelector(SEND)?.click());
    early = false;
  };
  document.addEventListener('keydown', send, true);
  document.addEventListener('click', send, true);

  // Files dropped anywhere on the chat or pasted go where a chosen one goes.
  const give = (event, files) => {
    const panel = document.querySelector('#files .files');
    if (!panel || !files?.length) return;
    event.preventDefault();
    panel.dispatchEvent(new CustomEvent('tailorbird:files', { bubbles: true, detail: [...files] }));
  };
  document.addEventListener('dragover', (event) => {
    if (document.querySelector('#files .files') && event.dataTransfer?.types.includes('Files')) event.preventDefault();
  });
  document.addEventListener('drop', (event) => give(event, event.dataTransfer?.files));
  document.addEventListener('paste', (event) => give(event, event.clipboardData?.files));

  // On a machine that several people use nothing unsent waits for the next one.
  document.addEventListener('submit', (event) => {
    if (event.target.action.endsWith('/logout')) sessionStorage.clear();
  });
}
