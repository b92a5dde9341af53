//! M3, M4 and a part of S1: what a long history costs those who read, and who starts.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use http::Method;
use serde_json::Value;
use signalbox_contract::RunId;
use signalbox_contract::token::Service;
use signalbox_service::git::testing::GitServer;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::bench::{Bench, Memory, least, memory, millis, most};
use crate::intake::{ASKED, waiting_site};
use crate::peer::Buildbot;
use crate::site::Site;
use crate::table::{Goal, Peer, Row};
use crate::wrk::Load;

/// A short history and a long one.
const SHORT: usize = 1000;
const LONG: usize = 1_000_000;

/// How many runs are active when it is killed.
const ACTIVE: usize = 1000;

/// How many rows are written at once.
const AT_ONCE: usize = 10_000;

/// One run in so many is of a repository that is seldom built.
const SELDOM: usize = 10;

/// What is read, and by which name it is told.
const READ: [(&str, &str); 4] = [
    ("`/status`", "/status"),
    ("newest page of 50", "/runs?limit=50"),
    ("page of a repository that is seldom built", "/runs?repo=seldom&limit=50"),
    ("page of what is queued", "/runs?state=queued&limit=50"),
];

/// Measures it.
///
/// # Errors
/// When something does not run.
pub(crate) async fn reads(bench: &Bench) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir_in(&bench.place)?;
    let source = GitServer::start(folder.path()).await;
    let mut sites = Vec::new();
    for stored in [LONG, SHORT] {
        let mut site = waiting_site(bench, &source).await?;
        let run = finished(&site).await?;
        site.stop().await?;
        bench.doing(&format!("M3: {stored} runs are written"));
        multiply(&site.folder().join("data/controller/controller.db"), run, stored).await?;
        site.start().await?;
        sites.push((site, run));
    }
    let paths: Vec<(String, String)> = READ.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect();
    let mut seen = vec![(Vec::new(), Vec::new()); paths.len() + 1];
    for round in 1..=bench.rounds {
        for (index, (name, path)) in paths.iter().chain([&("one run".to_owned(), "/runs/RUN".to_owned())]).enumerate() {
            bench.doing(&format!("M3, round {round}: {name}"));
            for (which, (site, run)) in sites.iter().enumerate() {
                let url = site.url(Service::Controller, &path.replace("RUN", &run.to_string()));
                let load = Load { connections: 16, ..Load::get(url, bench.time) }.header(site.authorization(Service::Controller)?);
                let rate = load.run(site.home()).await.with_context(|| path.clone())?.rate;
                if which == 0 { seen[index].0.push(rate) } else { seen[index].1.push(rate) }
            }
        }
    }
    let mut rows = Vec::new();
    for ((name, _), (long, short)) in paths.iter().chain([&("one run".to_owned(), String::new())]).zip(&seen) {
        let aim = match name.as_str() {
            "`/status`" | "newest page of 50" => Some(Goal::AtLeast(50_000.0)),
            "one run" => None,
            _ => Some(Goal::AtLeast(10_000.0)),
        };
        rows.push(Row {
            id: "M3",
            what: format!("{name}, {LONG} runs stored"),
            ours: most(long),
            peer: Some(Peer { name: "the same, 1,000 stored", figure: most(short) }),
            unit: "/s",
            must: Some(Goal::AtLeast(1.0 / 1.2)),
            aim: None,
        });
        rows.push(Row { id: "M3", what: format!("{name}, a second"), ours: most(long), peer: None, unit: "/s", must: None, aim });
    }
    let (mut long, _) = sites.swap_remove(0);
    let held = long.process().map(|process| memory(process, Memory::Now)).transpose()?.unwrap_or_default();
    rows.push(Row {
        id: "S1",
        what: format!("memory of `signalbox up` with {LONG} runs stored"),
        ours: held,
        peer: None,
        unit: "MiB",
        must: Some(Goal::AtMost(256.0)),
        aim: Some(Goal::AtMost(128.0)),
    });
    rows.extend(restarts(bench, &mut long).await?);
    Ok(rows)
}

/// Kills it with a thousand active runs, and waits until it works again.
async fn restarts(bench: &Bench, site: &mut Site) -> Result<Vec<Row>> {
    let body: Value = serde_json::from_str(ASKED)?;
    for _ in 0..ACTIVE {
        let _: Value = site.ask(Service::Controller, Method::POST, "/cd", Some(&body)).await?;
    }
    let mut seen = Vec::new();
    for round in 1..=bench.rounds {
        bench.doing(&format!("M4, round {round}: killed and started again"));
        site.kill().await;
        let begun = Instant::now();
        site.start().await?;
        let status: Value = site.ask(Service::Controller, Method::GET, "/status", None).await?;
        seen.push(millis(begun.elapsed()));
        let active = ["queued", "building"].iter().filter_map(|list| status[list].as_array().map(Vec::len)).sum::<usize>();
        if active < ACTIVE {
            bail!("of {ACTIVE} active runs {active} are left");
        }
    }
    bench.doing("M4: Buildbot's start");
    let buildbot = Buildbot::start(&bench.buildbot, &bench.place).await?;
    Ok(vec![
        Row {
            id: "M4",
            what: format!("kill -9 with {LONG} runs stored and {ACTIVE} active, until `/status` is answered"),
            ours: least(&seen),
            peer: Some(Peer { name: "Buildbot's start with nothing stored", figure: millis(buildbot.started_in) }),
            unit: "ms",
            must: Some(Goal::AtMost(0.2)),
            aim: None,
        },
        Row {
            id: "M4",
            what: "the same".to_owned(),
            ours: least(&seen),
            peer: None,
            unit: "ms",
            must: None,
            aim: Some(Goal::AtMost(300.0)),
        },
    ])
}

/// A run that was accepted and stopped.
async fn finished(site: &Site) -> Result<RunId> {
    let body: Value = serde_json::from_str(ASKED)?;
    let accepted: Value = site.ask(Service::Controller, Method::POST, "/cd", Some(&body)).await?;
    let run: RunId = accepted["run"].as_str().context("a run's id")?.parse()?;
    let _: Value = site.ask(Service::Controller, Method::POST, &format!("/runs/{run}/stop"), None).await?;
    let begun = Instant::now();
    loop {
        let view: Value = site.ask(Service::Controller, Method::GET, &format!("/runs/{run}"), None).await?;
        if view["summary"]["state"] == "finished" {
            return Ok(run);
        }
        if begun.elapsed() > Duration::from_mins(1) {
            bail!("a run that was stopped does not end: {view}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Writes copies of a finished run, each with an id of its own, until there are so many. The service is not running.
async fn multiply(database: &Path, run: RunId, stored: usize) -> Result<()> {
    let mut connection: SqliteConnection = SqliteConnectOptions::new().filename(database).disable_statement_logging().connect().await?;
    let mut id = run;
    let mut written = 1;
    while written < stored {
        let number = AT_ONCE.min(stored - written);
        let mut ids = Vec::with_capacity(number);
        for index in 0..number {
            id = id.successor();
            let repo = if (written + index).is_multiple_of(SELDOM) { "seldom" } else { "hello" };
            ids.push((id.to_string(), repo));
        }
        let mut transaction = connection.begin().await?;
        for statement in [
            "INSERT INTO run SELECT copy.value->>0, copy.value->>1, environment, name, ref, number, state, outcome, accepted_at, finished_at,
               version, replace(summary, $2, copy.value->>0), replace(body, $2, copy.value->>0) FROM run, json_each($1) AS copy
               WHERE run.id = $2",
            "INSERT INTO event SELECT copy.value->>0, n, at, kind, v, principal, replace(body, $2, copy.value->>0)
               FROM event, json_each($1) AS copy WHERE run = $2",
        ] {
            sqlx::query(statement).bind(serde_json::to_string(&ids)?).bind(run.to_string()).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        written += number;
    }
    connection.close().await?;
    Ok(())
}
