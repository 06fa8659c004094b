// The BullMQ side of the comparison. Each mode prints one line, a JSON object; times are of the machine's monotonic clock.
//   driver.js add_bulk REDIS_PORT JOBS SIZE        addBulk calls of SIZE jobs, one after the other
//   driver.js add REDIS_PORT JOBS SUBMITTERS       add, so many in flight
//   driver.js worker REDIS_PORT JOBS CONCURRENCY   prints `ready`, then when the last of JOBS was completed
"use strict";

const { Queue, Worker } = require("bullmq");

const ORG = "org-acme";
const APP_VERSIONS = 50;
const PATH_CHARACTERS = 80;
const PATH_START = "tests/suite/onboarding/with_login_and_a_rather_long_name_as_real_suites_have_them";
const QUEUE = "tests";
const JOB_NAME = "test";

const seconds = () => Number(process.hrtime.bigint()) / 1e9;
const cpuSeconds = () => (process.cpuUsage().user + process.cpuUsage().system) / 1e6;
const tell = (facts) => console.log(JSON.stringify(facts));

// The same jobs as bench/requests.py.
function payload(number) {
  const end = `_${String(number).padStart(8, "0")}.spec.ts`;
  return {
    org_id: ORG,
    app_version_id: `appv-${String(number % APP_VERSIONS).padStart(6, "0")}`,
    test_path: PATH_START.slice(0, PATH_CHARACTERS - end.length) + end,
  };
}

async function addBulk(queue, jobs, size) {
  for (let first = 0; first < jobs; first += size) {
    const count = Math.min(size, jobs - first);
    await queue.addBulk(Array.from({ length: count }, (_, i) => ({ name: JOB_NAME, data: payload(first + i) })));
  }
}

async function add(queue, jobs, submitters) {
  let next = 0;
  const submitter = async () => {
    while (next < jobs) await queue.add(JOB_NAME, payload(next++));
  };
  await Promise.all(Array.from({ length: submitters }, submitter));
}

async function produce(how, connection, jobs, amount) {
  const queue = new Queue(QUEUE, { connection });
  await queue.waitUntilReady();
  const cpu = cpuSeconds();
  const begun = seconds();
  await how(queue, jobs, amount);
  tell({ begun, ended: seconds(), cpu_seconds: cpuSeconds() - cpu });
  await queue.close();
}

async function work(connection, jobs, concurrency) {
  const worker = new Worker(QUEUE, async () => {}, { connection, concurrency });
  let completed = 0;
  const last = new Promise((resolve) => {
    worker.on("completed", () => {
      if (++completed === jobs) resolve(seconds());
    });
  });
  worker.on("error", (error) => {
    console.error(error);
    process.exit(1);
  });
  await worker.waitUntilReady();
  console.log("ready");
  const cpu = cpuSeconds();
  tell({ ended: await last, cpu_seconds: cpuSeconds() - cpu });
  await worker.close();
}

async function main() {
  const [mode, port, jobs, amount] = process.argv.slice(2);
  const connection = { host: "127.0.0.1", port: Number(port) };
  if (mode === "add_bulk") await produce(addBulk, connection, Number(jobs), Number(amount));
  else if (mode === "add") await produce(add, connection, Number(jobs), Number(amount));
  else if (mode === "worker") await work({ ...connection, maxRetriesPerRequest: null }, Number(jobs), Number(amount));
  else throw new Error(`no mode ${mode}: add_bulk, add or worker`);
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
