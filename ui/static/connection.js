// The connection to the service. A page that loses it says so, asks every two seconds whether it is back, and then
// shows what was written meanwhile. And what Gradio itself has to say, which it says in English, in the page's language.
if (!window.tailorbird.lost) {
  const said = window.tailorbirdSaid;
  const plain = window.fetch;
  const BUSY = '#growing [aria-busy=true], #duel section[aria-busy=true]';
  const LEAVING = 30_000;
  let lost = false, mute = false, left = 0;

  const banner = () => {
    let region = document.getElementById('lost');
    if (!region) {
      region = Object.assign(document.createElement('div'), { id: 'lost', hidden: true });
      region.setAttribute('role', 'alert');
      document.body.append(region);
    }
    return region;
  };
  const answers = async () => {
    try {
      return (await plain('/connection', { cache: 'no-store', signal: AbortSignal.timeout(5000) })).ok;
    } catch {
      return false;
    }
  };
  // A browser also ends a page's calls when the page is left, and Gradio says so before we know why: what was asked before
  // is looked at again, so that the page does not load itself in place of the next.
  window.addEventListener('beforeunload', () => { left = Date.now(); });
  const leaving = () => Date.now() - left < LEAVING;
  const ask = async () => {
    const there = !leaving() && await answers();
    if (!leaving()) {
      if (there) return back();
      Object.assign(banner(), { hidden: false, textContent: said.lost });
    }
    window.setTimeout(ask, 2000);
  };
  const lose = () => {
    if (lost) return;
    lost = true;
    ask();
  };
  // What grew has gone on without us, a page that was never filled has nothing yet, and one that Gradio has given up does
  // nothing any more: these begin again. Any other goes on as it is.
  const back = () => {
    lost = false;
    if (mute || document.querySelector(BUSY) || !document.querySelector('#header .top')) return location.reload();
    banner().hidden = true;
  };
  window.tailorbird.lost = lose;
  window.addEventListener('offline', lose);
  window.addEventListener('online', lose);

  const address = (request) => new URL(request.url ?? request, location.href);
  const ours = (request) => address(request).origin === location.origin;
  window.fetch = async (...request) => {
    // Gradio asks this every two seconds and then loads the page again, also one that is just being left. That is `back`'s.
    if (ours(request[0]) && address(request[0]).pathname.endsWith('/app_id')) throw new TypeError('not asked');
    let response;
    try {
      response = await plain(...request);
    } catch (error) {
      if (error.name !== 'AbortError' && ours(request[0])) lose();
      throw error;
    }
    if (!response.url.startsWith(location.origin)) return response;
    // A session that ended while the page was open leads to the sign-in page, not to a mute button. Where somebody else
    // has signed in since, the page becomes theirs.
    if (response.status === 401) location.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    if (response.headers.has('x-tailorbird-stale')) {
      sessionStorage.clear();
      location.reload();
    }
    if ([502, 503, 504].includes(response.status)) lose();
    return response;
  };

  // A notice of ours is of the class `ours`, as Gradio lets no `data-` through; any other is Gradio's.
  const sentence = (text) => {
    for (const [pattern, ours] of said.notices) {
      const found = new RegExp(pattern).exec(text);
      if (found) return ours.replace(/\$(\d)/g, (_, number) => found[number] ?? '');
    }
    return said.unknown;
  };
  const away = (notice) => {
    notice.style.setProperty('display', 'none', 'important');
    notice.querySelector('[data-testid=toast-close]').click();
  };
  const seen = new WeakSet();
  const translate = (notice) => {
    const kind = ['success', 'info'].find((one) => notice.classList.contains(one)) ? 'done' : 'failed';
    const title = notice.querySelector('.toast-title')?.firstChild;
    if (title && title.data !== said[kind]) title.data = said[kind];
    notice.querySelector('[data-testid=toast-close]')?.setAttribute('aria-label', said.close);
    for (const text of notice.querySelectorAll('[data-testid=toast-text]')) {
      if (seen.has(text)) continue;
      seen.add(text);
      if (text.textContent.startsWith('Connection to the server was lost')) {
        mute = true;
        lose();
        return away(notice);
      }
      const unreachable = text.querySelector('.ours.lost') || text.textContent.includes('currently busy');
      if (unreachable) lose();
      // The banner says it already, also to a page that looks for news every few seconds.
      if (unreachable && !banner().hidden) return away(notice);
      if (text.querySelector('.ours') || kind === 'done') continue;
      text.textContent = sentence(text.textContent);
    }
  };
  const named = Object.entries(said.names);
  new MutationObserver(() => {
    document.querySelectorAll('.toast-body').forEach(translate);
    for (const [selector, name] of named) document.querySelector(selector)?.setAttribute('aria-label', name);
  }).observe(document.documentElement, { childList: true, subtree: true });
}
