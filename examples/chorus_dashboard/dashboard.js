"use strict";

// Polls the API on the same origin. All text goes in with textContent, so that names can never become markup.
const BASE = "/api/v1";
const POLL_MILLISECONDS = 3000;
const LONGEST_POLL_MILLISECONDS = 30000;
const TIMEOUT_MILLISECONDS = 8000;

const byId = (id) => document.getElementById(id);
let failures = 0;
let lastGood = null;

async function fetchJson(path) {
  const response = await fetch(BASE + path, {
    headers: { Accept: "application/json" },
    cache: "no-store",
    signal: AbortSignal.timeout(TIMEOUT_MILLISECONDS),
  });
  if (!response.ok) {
    throw new Error(`the API answered with status ${response.status}`);
  }
  return response.json();
}

function setText(id, value) {
  const text = value === null || value === undefined ? "–" : String(value);
  if (byId(id).textContent !== text) {
    byId(id).textContent = text;
  }
}

function makeElement(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) {
    element.textContent = text;
  }
  if (className) {
    element.className = className;
  }
  return element;
}

function showState(name, text) {
  byId("state").className = `state ${name}`;
  setText("state", text);
}

function showStatus(status) {
  showState(status.status, status.status === "healthy" ? "Healthy" : "Degraded");
  setText("environment", status.environment);
  setText("agents-count", status.agents);
  setText("average-score", status.average_score);
  setText("untrusted", status.untrusted);
  setText("at-risk", status.at_risk);
  setText("conflicts", status.conflicts);
  setText("cooperations", status.cooperations);
}

function makeRow(agent, risk, settings) {
  const row = document.createElement("tr");
  const name = makeElement("th", agent.agent);
  name.scope = "row";
  const trust = document.createElement("td");
  const meter = document.createElement("meter");
  meter.min = 0;
  meter.max = 100;
  meter.low = settings.trust_threshold;
  meter.optimum = 100;
  meter.value = agent.score;
  meter.setAttribute("aria-label", `Trust of ${agent.agent}`);
  trust.append(meter, makeElement("span", agent.score.toFixed(0)));
  if (!agent.trusted) {
    trust.append(makeElement("span", " not trusted", "bad"));
  }
  const risky = risk !== undefined && risk >= settings.risk_threshold;
  const percent = risk === undefined ? "–" : `${Math.round(risk * 100)} %`;
  row.append(
    name,
    trust,
    makeElement("td", risky ? `${percent} high` : percent, risky ? "bad" : ""),
    makeElement("td", agent.conflicts, "number"),
    makeElement("td", agent.interactions, "number"),
  );
  return row;
}

function showAgents(agents, latest, settings) {
  const risks = new Map(latest.risks.map((item) => [item.agent, item.risk]));
  const sorted = [...agents].sort((a, b) => a.score - b.score || a.agent.localeCompare(b.agent));
  byId("agents").replaceChildren(...sorted.map((agent) => makeRow(agent, risks.get(agent.agent), settings)));
  byId("agents-empty").hidden = agents.length > 0;
}

function showPredictions(recent) {
  const items = recent.map((prediction) => {
    const item = document.createElement("li");
    const moment = new Date(prediction.time * 1000);
    const time = makeElement("time", moment.toLocaleTimeString(), "muted");
    time.dateTime = moment.toISOString();
    item.append(makeElement("span", `${prediction.agent}: ${Math.round(prediction.risk * 100)} % risk`), time);
    return item;
  });
  byId("predictions").replaceChildren(...items);
  byId("predictions-empty").hidden = recent.length > 0;
}

function showFailure(error) {
  const reason = error.name === "TimeoutError" ? "it did not answer in time" : error.message;
  const since = lastGood ? ` The figures below are from ${lastGood.toLocaleTimeString()}.` : "";
  showState("down", "API unreachable");
  byId("notice").hidden = false;
  setText("notice", `The API cannot be reached (${reason}).${since} Trying again by itself.`);
  document.body.classList.add("stale");
}

async function refresh() {
  try {
    const [status, agents, predictions] = await Promise.all([
      fetchJson("/system/status"),
      fetchJson("/agents?limit=1000"),
      fetchJson("/predictions?limit=10"),
    ]);
    showStatus(status);
    showAgents(agents.agents, predictions.latest, status.settings);
    showPredictions(predictions.recent);
    failures = 0;
    lastGood = new Date();
    byId("notice").hidden = true;
    document.body.classList.remove("stale");
    setText("updated", `Updated at ${lastGood.toLocaleTimeString()}.`);
  } catch (error) {
    failures += 1;
    showFailure(error);
  }
  const pause = Math.min(POLL_MILLISECONDS * 2 ** Math.min(failures, 5), LONGEST_POLL_MILLISECONDS);
  setTimeout(refresh, document.hidden ? LONGEST_POLL_MILLISECONDS : pause);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && lastGood && Date.now() - lastGood.getTime() > LONGEST_POLL_MILLISECONDS) {
    location.reload();
  }
});
refresh();
