// Shows one run and its results, by the API, with the token of a login that lasts as long as the tab.
"use strict";

const runId = location.pathname.split("/").filter(Boolean).pop();
const element = (id) => document.getElementById(id);
let page = 0;

function say(text) {
  element("message").textContent = text;
}

function row(table, cells, kind) {
  const line = element(table).insertRow();
  for (const cell of cells) {
    line.insertCell().textContent = cell ?? "";
  }
  if (kind) line.className = kind;
}

async function ask(path) {
  const token = sessionStorage.getItem("token");
  const answer = await fetch(`/api${path}`, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
  if (answer.status === 401) {
    element("login").hidden = false;
    throw new Error("Log in to see the run.");
  }
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail);
  return body;
}

async function moreResults() {
  page += 1;
  const query = new URLSearchParams({ filter: `run_id=${runId}`, page, pageSize: 200 });
  const { results, pagination } = await ask(`/result?${query}`);
  for (const result of results) {
    row("results", [result.test_id, result.result, `${(result.duration ?? 0).toFixed(2)} s`], result.result);
  }
  element("more").hidden = page >= pagination.totalPages;
}

async function show() {
  try {
    const run = await ask(`/run/${encodeURIComponent(runId)}`);
    element("login").hidden = true;
    const about = { Started: run.start_time, Source: run.source, Component: run.component, Environment: run.env };
    for (const [name, value] of Object.entries({ ...about, ...run.summary })) {
      row("summary", [name, typeof value === "object" ? JSON.stringify(value) : value]);
    }
    say(run.id);
    await moreResults();
  } catch (error) {
    say(error.message);
  }
}

element("more").addEventListener("click", () => moreResults().catch((error) => say(error.message)));
element("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/api/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(Object.fromEntries(new FormData(event.target))),
  });
  const body = await answer.json();
  if (!answer.ok) return say(body.message ?? body.detail);
  sessionStorage.setItem("token", body.token);
  return show();
});
show();
