//! M1: how many runs are accepted a second, each durable before it is answered.

use anyhow::Result;
use signalbox_contract::token::Service;
use signalbox_service::git::testing::{GitServer, Misbehaviour};

use crate::bench::{Bench, least, most};
use crate::peer::{Buildbot, Postgres};
use crate::site::{Besides, Site};
use crate::table::{Goal, Peer, Row};
use crate::wrk::Load;

/// An installation with one repository whose source never answers: whatever is accepted stays accepted, and nothing is built.
/// Its history is kept, however long it gets.
pub(crate) async fn waiting_site(bench: &Bench, source: &GitServer) -> Result<Site> {
    source.misbehave(Misbehaviour::Hang);
    let besides = Besides {
        controller_keys: "queue = 1000000".to_owned(),
        controller: format!(
            "[repositories.hello]\nsource = \"{}\"\nexecutor = \"local\"\n[retention]\ncount = 10000000\n",
            source.url("hello")
        ),
        vcs_worker: format!("[[sources]]\nurl = \"http://{}/\"\nprivate = true\n", source.address()),
        ..Besides::default()
    };
    Site::started(&bench.program, &bench.place, &besides).await
}

/// What is posted to `/cd`.
pub(crate) const ASKED: &str = "{\"repo\":\"hello\",\"ref\":\"main\"}";

/// Measures it.
///
/// # Errors
/// When something does not run.
pub(crate) async fn accepts(bench: &Bench) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir_in(&bench.place)?;
    let source = GitServer::start(folder.path()).await;
    let postgres = Postgres::start(&bench.place).await?;
    let (mut ours, mut idle, mut late, mut inserts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        bench.doing(&format!("M1, round {round}: PostgreSQL's inserts"));
        inserts.push(postgres.inserts(bench.time).await?);
        // A fresh one each time: what the last round accepted is not to be carried.
        let mut site = waiting_site(bench, &source).await?;
        bench.doing(&format!("M1, round {round}: GETs of nothing"));
        idle.push(Load::get(site.url(Service::Controller, "/health/live"), bench.time).run(site.home()).await?.rate);
        bench.doing(&format!("M1, round {round}: accepts"));
        let load = Load::get(site.url(Service::Controller, "/cd"), bench.time).header(site.authorization(Service::Controller)?);
        let measured = load.sending("POST", "application/json", ASKED).run(site.home()).await?;
        ours.push(measured.rate);
        late.push(measured.p99);
        site.kill().await;
    }
    bench.doing("M1: Buildbot's change hook");
    let buildbot = Buildbot::start(&bench.buildbot, &bench.place).await?;
    let hook = buildbot.hook(16, bench.time).await?.rate;
    let row = |what: &str, figure, peer, must, aim| Row { id: "M1", what: what.to_owned(), ours: figure, peer, unit: "/s", must, aim };
    let (ours, inserts, idle) = (most(&ours), most(&inserts), most(&idle));
    Ok(vec![
        row(
            "durable accepts of `POST /cd`, 64 connections",
            ours,
            Some(Peer { name: "PostgreSQL, single-row INSERT", figure: inserts }),
            Some(Goal::AtLeast(1.0)),
            Some(Goal::AtLeast(2.0)),
        ),
        row("the same", ours, Some(Peer { name: "Buildbot, change hook", figure: hook }), Some(Goal::AtLeast(100.0)), None),
        row("the same", ours, Some(Peer { name: "our own GET of nothing", figure: idle }), None, Some(Goal::AtLeast(0.35))),
        Row {
            id: "M1",
            what: "99 of 100 of them, at most".to_owned(),
            ours: least(&late),
            peer: None,
            unit: "ms",
            must: None,
            aim: Some(Goal::AtMost(5.0)),
        },
    ])
}
