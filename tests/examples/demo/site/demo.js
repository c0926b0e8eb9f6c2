// The page works without this file. With it, visits and the lock happen without leaving the page, and
// the two panels of the store stay fresh while the tab is looked at.
'use strict';

const byId = (id) => document.getElementById(id);
const say = (text) => { byId('message').textContent = text; };

async function refreshPanels() {
  if (document.hidden) return;
  try {
    const answer = await fetch('status.php?part', { cache: 'no-store' });
    if (!answer.ok) return;
    const panels = byId('panels');
    const open = panels.querySelector('details')?.open;
    // The part is escaped where it is made (page.php).
    panels.innerHTML = await answer.text();
    if (open) panels.querySelector('details').open = true;
  } catch {
    if (byId('message')) say('No answer: the PHP processes are gone. Start them again with make run.');
  }
}

// One request at a time for each form: the button says so, and stays in reach of the keyboard.
function onSubmit(form, action) {
  form?.addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = form.querySelector('button');
    if (button.getAttribute('aria-disabled') === 'true') return;
    button.setAttribute('aria-disabled', 'true');
    try {
      await action(new URLSearchParams(new FormData(form)));
    } catch (error) {
      say(`That did not work: ${error.message}`);
    }
    button.removeAttribute('aria-disabled');
    refreshPanels();
  });
}

async function post(address, body) {
  const answer = await fetch(address, { method: 'POST', body, headers: { Accept: 'application/json' } });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer;
}

onSubmit(byId('visit'), async (body) => {
  const visit = await (await post('visit.php', body)).json();
  byId('visits').textContent = visit.visits;
  byId('worker').textContent = visit.worker;
  say(visit.waited_ms < 50
    ? `Counted by process ${visit.worker}.`
    : `Counted by process ${visit.worker}, after waiting ${(visit.waited_ms / 1000).toFixed(1)} s for the lock.`);
});

onSubmit(byId('hold'), async (body) => {
  say('Your session is locked for 5 seconds. Press Visit now: it waits in line, and is counted as soon as the lock is free.');
  await (await post('hold.php', body)).text();
  say('Released.');
});

setInterval(refreshPanels, 1000);
