// What every panel does in the browser. `element`, `trigger` and `watch` are given by gr.HTML.

const key = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
};

const fieldsOf = (form) => {
  const fields = {};
  if (form) for (const [name, value] of new FormData(form)) (fields[name] ??= []).push(String(value));
  return fields;
};

const press = (source) => {
  if (source.getAttribute('aria-busy') === 'true') return;
  if (source.dataset.confirm && !window.confirm(source.dataset.confirm)) return;
  const form = source.closest('form');
  if (form && !source.hasAttribute('formnovalidate') && !form.reportValidity()) return;
  const { do: act, id = '', value = '' } = source.dataset;
  source.setAttribute('aria-busy', 'true');
  // A redraw takes the pressed button away; one that stays is free again soon.
  window.setTimeout(() => source.removeAttribute('aria-busy'), element.closest('#search') ? 600 : 4000);
  trigger(source.dataset.event || 'click', { act, id, value, fields: fieldsOf(form), once: key() });
  if (form && source.type === 'submit') hand(form);
};

element.addEventListener('click', (event) => {
  const modified = event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0;
  const source = event.target.closest('[data-do], [data-copy], [data-copy-code], [data-open]');
  if (!source || !element.contains(source) || modified) return;
  event.preventDefault();
  if (source.dataset.copy !== undefined) return copy(source, textOf(source.dataset.copy));
  if (source.dataset.copyCode !== undefined) return copy(source, source.closest('figure').querySelector('code').textContent);
  if (source.dataset.open !== undefined) return open(source);
  press(source);
});

element.addEventListener('submit', (event) => {
  const live = event.target.querySelector('[data-live]');
  if (live) { event.preventDefault(); return look(live); }
  const source = event.target.querySelector('[type=submit][data-do]') ?? event.target.querySelector('[data-do]');
  if (!source) return;
  event.preventDefault();
  press(event.submitter?.dataset.do ? event.submitter : source);
});

// A field that is answered while it is typed in.
const waiting = new Map();
const look = (field) => {
  window.clearTimeout(waiting.get(field));
  trigger('click', { act: field.dataset.live, id: '', value: '', fields: fieldsOf(field.form), once: key() });
};
element.addEventListener('input', (event) => {
  const field = event.target;
  if (field.dataset?.live === undefined) return;
  window.clearTimeout(waiting.get(field));
  waiting.set(field, window.setTimeout(() => look(field), 350));
});

// Files chosen, dropped on the page or pasted: read here, judged by the service.
const attach = async (files) => {
  const largest = Number(element.querySelector('[data-largest]')?.dataset.largest);
  const fields = { name: [], content: [] };
  for (const file of files) {
    if (file.size > largest) {
      return trigger('click', { act: 'too_large', id: '', value: file.name, fields: {}, once: key() });
    }
    const bytes = new Uint8Array(await file.arrayBuffer());
    let binary = '';
    for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
    fields.name.push(file.name);
    fields.content.push(btoa(binary));
  }
  trigger('click', { act: 'attach', id: '', value: '', fields, once: key() });
};
element.addEventListener('change', (event) => {
  const field = event.target;
  if (field.dataset?.files === undefined || !field.files.length) return;
  attach([...field.files]);
  field.value = '';
});
element.addEventListener('tailorbird:files', (event) => attach(event.detail));

const textOf = (name) => {
  const holder = element.querySelector(`[data-text="${CSS.escape(name)}"]`);
  return holder?.value ?? holder?.innerText ?? '';
};

const copy = async (source, text) => {
  try {
    await navigator.clipboard.writeText(text.trim());
  } catch {
    const area = Object.assign(document.createElement('textarea'), { value: text.trim() });
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  source.classList.add('done');
  window.setTimeout(() => source.classList.remove('done'), 1500);
};

const open = (source) => {
  const target = element.querySelector(`#${CSS.escape(source.dataset.open)}`);
  if (!target) return;
  target.open = !target.open;
  if (target.open) target.querySelector('textarea, input')?.focus({ preventScroll: true });
};

// `data-key` is pressed by that key while the focus is in this panel and nobody is writing (WCAG 2.1.4);
// Ctrl + Enter sends the form from a text field. A key that is held down presses once.
element.addEventListener('keydown', (event) => {
  const { target, key: pressed } = event;
  if (event.repeat) return;
  if (pressed === 'Enter' && (event.ctrlKey || event.metaKey) && target.form) return target.form.requestSubmit();
  const writing = target.matches('textarea, select, input:not([type=radio], [type=checkbox])');
  if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
  const source = element.querySelector(`[data-key="${CSS.escape(pressed)}"]`);
  if (!source) return;
  event.preventDefault();
  source.focus();
  source.click();
});

// What a redraw puts in place of what was pressed gets the focus, once for each value of its `data-focus`.
let focused = '';
const lead = () => {
  const target = element.querySelector('[data-focus]');
  if (!target || target.dataset.focus === focused) return;
  focused = target.dataset.focus;
  requestAnimationFrame(() => target.focus());
};

// What is typed but not sent outlives a redraw and a reload: it is kept by the field's `data-draft`. What was sent
// outlives no reload, and is forgotten once the service draws the field otherwise or not at all: then what holds is
// drawn. In a form with `data-stays` it comes back, as after an undo.
const drafts = new Map();
const sent = new Map();
const drawn = (field) => {
  if (field.type === 'checkbox' || field.type === 'radio') return field.defaultChecked;
  if (field.tagName === 'SELECT') return (field.querySelector('[selected]') ?? field.options[0])?.value;
  return field.defaultValue;
};
const draft = ({ dataset }, value) => {
  drafts.set(dataset.draft, value);
  sent.delete(dataset.draft);
  sessionStorage.setItem(`draft:${dataset.draft}`, JSON.stringify(value));
};
const hand = (form) => {
  for (const field of form.querySelectorAll('[data-draft]')) {
    sessionStorage.removeItem(`draft:${field.dataset.draft}`);
    if (form.dataset.stays === undefined) sent.set(field.dataset.draft, drawn(field));
  }
};
const forget = () => {
  const fields = new Map([...element.querySelectorAll('[data-draft]')].map((field) => [field.dataset.draft, field]));
  for (const [name, was] of sent) {
    if (fields.has(name) && drawn(fields.get(name)) === was) continue;
    drafts.delete(name);
    sent.delete(name);
  }
};
element.addEventListener('input', (event) => {
  const { target } = event;
  if (!target.dataset?.draft) return;
  if (target.type === 'radio') {
    const group = element.querySelectorAll(`[name="${CSS.escape(target.name)}"][data-draft]`);
    for (const one of group) draft(one, one.checked);
  } else draft(target, target.type === 'checkbox' ? target.checked : target.value);
});
const recall = (field) => {
  const kept = sessionStorage.getItem(`draft:${field.dataset.draft}`);
  if (kept === null || drafts.has(field.dataset.draft)) return;
  drafts.set(field.dataset.draft, JSON.parse(kept));
  // So that it is seen.
  const folded = field.closest('details[data-keep]');
  if (folded) drafts.set(`open:${folded.dataset.keep}`, true);
};
const reset = (field) => {
  recall(field);
  // A redraw keeps what a field holds, so what was sent would stay in an empty form.
  const value = drafts.get(field.dataset.draft) ?? drawn(field);
  if (field.type === 'checkbox' || field.type === 'radio') field.checked = value;
  else field.value = value;
};
element.addEventListener('toggle', (event) => {
  if (event.target.dataset?.keep) drafts.set(`open:${event.target.dataset.keep}`, event.target.open);
}, true);

const grow = (area) => {
  area.style.height = 'auto';
  area.style.height = `${Math.min(area.scrollHeight + 2, 480)}px`;
};
element.addEventListener('input', (event) => { if (event.target.matches?.('textarea')) grow(event.target); });
element.addEventListener('toggle', ({ target }) => {
  target.querySelectorAll('textarea').forEach(grow);
  // A form that was opened is seen whole, above what is written in.
  const asked = target.contains(document.activeElement) || target.matches('[data-shown]');
  if (target.open && asked && target.matches('.correct, .why')) target.scrollIntoView({ block: 'nearest' });
}, true);

const tidy = () => {
  forget();
  element.querySelectorAll('[data-draft]').forEach(reset);
  for (const details of element.querySelectorAll('details[data-keep]')) {
    const kept = drafts.get(`open:${details.dataset.keep}`);
    if (kept !== undefined) details.open = kept;
  }
  const language = document.documentElement.lang || undefined;
  // As the reader's own browser writes dates, where it speaks the page's language: en-GB, fr-CA.
  const locale = navigator.languages.find((one) => one.split('-')[0] === language) ?? language;
  for (const time of element.querySelectorAll('time[datetime]')) {
    const moment = new Date(time.dateTime);
    const today = moment.toDateString() === new Date().toDateString();
    time.textContent = today
      ? moment.toLocaleTimeString(locale, { hour: '2-digit', minute: '2-digit' })
      : moment.toLocaleString(locale, {
        day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit',
        ...(moment.getFullYear() === new Date().getFullYear() ? {} : { year: 'numeric' }),
      });
  }
  for (const field of element.querySelectorAll('[data-link]')) field.value = new URL(field.defaultValue, location.origin).href;
  for (const formula of element.querySelectorAll('[data-tex]')) window.tailorbird?.formula(formula);
  const searched = document.querySelector('#search input[type=search]');
  if (searched && element.querySelector('[data-all]') && document.activeElement !== searched) searched.value = '';
  const told = element.querySelector('[data-tell]');
  if (told) window.tailorbird?.tell(told.dataset.tell);
  if (element.querySelector('[data-look]')) window.tailorbird?.paint();
  const address = element.querySelector('[data-address]');
  if (address) window.tailorbird?.address(address.dataset.address);
  if (element.querySelector('[data-follow]')) window.tailorbird?.follow();
  if (element.querySelector('[data-end]')) window.tailorbird?.end();
  lead();
};

watch('value', tidy);
tidy();
