//! Changes in a real Gerrit, of which we are told badly: events are dropped, doubled and late, Gerrit and GitLab answer 5xx, and services
//! die; yet each change gets one vote on its last patch set, and that is the right one.

mod change;
mod weather;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signalbox_contract::token::Service;
use signalbox_fakes::gitlab::Outcome;
use signalbox_fakes::gitlab::fault::{AnswerFault, HookFaults};
use signalbox_scenarios::{Account, Gerrit, Gitlab, Losses, World, WorldOptions};

use crate::asker::Asker;
use crate::books;
use crate::dice::Dice;
use crate::evidence;
use crate::progress::Progress;
use crate::reaper::{Pace, Reaper};
use crate::report::{self, Part, Verdict};
use change::{Author, Judged};
use weather::Weather;

/// The projects, and where each is built.
const PROJECTS: [(&str, &str); 6] =
    [("here-a", "local"), ("there-a", "gitlab"), ("here-b", "local"), ("there-b", "gitlab"), ("here-c", "local"), ("there-c", "gitlab")];

/// How many of a hundred deliveries are dropped, as many are doubled and late; and how many of a hundred answers are 5xx.
const SHARE: u64 = 10;

/// The secret of Gerrit's webhooks.
const HOOK: &str = "sesame0open7now";

/// What is ordered.
#[derive(Debug, Clone)]
pub struct Orders {
    /// How many changes.
    pub changes: usize,
    /// Where chance begins.
    pub seed: u64,
    /// How long a change may take to get its vote before that counts as lost.
    pub patience: Duration,
}

impl Orders {
    /// So many changes, from this seed.
    pub const fn new(changes: usize, seed: u64) -> Self {
        Self { changes, seed, patience: Duration::from_mins(8) }
    }
}

/// Proposes so many changes, and tells what came of it.
pub async fn run(orders: &Orders, progress: &Progress) -> Vec<Part> {
    let mut dice = Dice::new(orders.seed);
    progress.begin("setting the stage", 1);
    let Some(gerrit) = Gerrit::start().await else { return vec![Part::not_run("changes", "a Gerrit, and so Java")] };
    let weather = match Weather::before(gerrit.url().trim_end_matches('/'), SHARE, dice.split()).await {
        Ok(weather) => weather,
        Err(error) => return vec![Part::not_run("changes", &format!("a free port ({error})"))],
    };
    let gitlab = scripted(dice.next()).await;
    let mut world = World::with(options(&gerrit, &weather, &gitlab).await).await;
    if let Err(error) = gitlab.fake.believe(&std::fs::read(world.site().join("ca.pem")).unwrap_or_default()) {
        return vec![Part::tried("changes", Vec::new(), vec![format!("GitLab will not tell: {error}")])];
    }
    let losses = Losses { dropped: SHARE, doubled: SHARE, late: SHARE, most_late: Duration::from_secs(3), seed: dice.next() };
    let relay = gerrit.deliver_badly(&world, &format!("/webhooks/gerrit/{HOOK}"), losses).await;
    misbehave(&gitlab);
    // What is there before a project is compared for the first time is old, and none of ours to build.
    if let Err(never) = books::compared(&world.site(), PROJECTS.len(), orders.patience).await {
        return vec![Part::tried("changes", Vec::new(), vec![never])];
    }
    progress.step();

    let asker = Asker::new(&world, orders.patience);
    let gerrit = Arc::new(gerrit);
    progress.begin("changes", orders.changes);
    let mut authors = tokio::task::JoinSet::new();
    for (at, (project, executor)) in PROJECTS.into_iter().enumerate() {
        let share = orders.changes / PROJECTS.len() + usize::from(at < orders.changes % PROJECTS.len());
        let workspace = gerrit.clone_of(project).await;
        let mut author = Author::new(Arc::clone(&gerrit), workspace, project, executor == "local", dice.split());
        let (asker, progress) = (asker.clone(), progress.clone());
        authors.spawn(async move {
            let mut judged = Vec::new();
            for _ in 0..share {
                judged.push(author.propose(&asker).await);
                progress.step();
            }
            judged
        });
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut reaper = Reaper::new(dice.split(), Pace { gap: 1500..5000, away: 100..2500 });
    let mut judged: Vec<Judged> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        reaper.strike(&mut world, None).await;
        while let Some(done) = authors.try_join_next() {
            judged.extend(done.unwrap_or_else(|error| vec![Judged::lost(format!("an author broke: {error}"))]));
        }
        over.store(authors.is_empty(), Ordering::Relaxed);
    }
    reaper.relent(&mut world, None).await;

    progress.begin("waiting until all is quiet, and counting", 1);
    weather.clear();
    gitlab.up();
    let mut findings: Vec<String> = books::quiet(&world.site(), orders.patience).await.err().into_iter().collect();
    // Whatever comes late must change nothing.
    tokio::time::sleep(Duration::from_secs(4)).await;
    findings.extend(books::quiet(&world.site(), orders.patience).await.err());
    let mut votes = 0;
    for one in &judged {
        votes += one.count(&gerrit, &mut findings).await;
    }
    let given_up = judged.iter().filter(|one| one.given_up).count() as u64;
    let (answers, spoilt) = weather.counted();
    let told = relay.counted();
    let figures = [
        ("changes", judged.len() as u64),
        ("patch sets", judged.iter().map(|one| one.wanted.len() as u64).sum()),
        ("votes", votes),
        ("given up and said so", given_up),
        ("events", told.events),
        ("of them dropped", told.dropped),
        ("doubled", told.doubled),
        ("late", told.late),
        ("requests to Gerrit", answers),
        ("of them answered 5xx", spoilt),
        ("kills", reaper.moments.len() as u64),
    ];
    let figures: Vec<(String, u64)> = figures.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
    let mut parts = vec![Part::tried("changes", figures, findings)];
    drop(relay);
    let mut left = Vec::new();
    for (project, _) in PROJECTS.iter().filter(|(_, executor)| *executor == "gitlab") {
        left.extend(gitlab.tidy(project).await.err());
    }
    left.extend(world.end().await);
    left.extend(books::left(&world.site()).await);
    let wrong = !left.is_empty() || parts.iter().any(|part| part.verdict == Verdict::Broken);
    parts.push(Part::tried("left over", vec![("things left over".to_owned(), left.len() as u64)], left));
    report::refer(&mut parts, wrong.then(|| evidence::kept(&world.site())));
    gitlab.close(&[]).await;
    if let Some(gerrit) = Arc::into_inner(gerrit) {
        gerrit.close().await;
    }
    progress.step();
    parts
}

/// A GitLab whose jobs go as their names say.
async fn scripted(seed: u64) -> Gitlab {
    let gitlab = Gitlab::start_with(|options| options.seed = seed).await;
    gitlab.fake.script(|job, pipeline| {
        let lasting = u64::from_str_radix(pipeline.sha.get(..4).unwrap_or_default(), 16).unwrap_or_default() % 1500;
        let outcome = if job.plan.name == "wrong" { Outcome::failure("script_failure") } else { Outcome::success() };
        Some(outcome.lasting(Duration::from_millis(200 + lasting)))
    });
    gitlab
}

/// GitLab's answers and webhooks go wrong from now on.
fn misbehave(gitlab: &Gitlab) {
    let share = f64::from(u32::try_from(SHARE).unwrap_or_default()) / 100.0;
    let faults = gitlab.fake.faults();
    faults.answer_some(None, "/", AnswerFault::Status(502), share / 2.0);
    faults.answer_some(None, "/", AnswerFault::Status(500), share / 2.0);
    let delay = Duration::from_secs(2);
    faults.hooks(HookFaults { dropped: share, doubled: share, delayed: share, delay, off: false });
}

/// Gerrit tells by webhooks alone, and is asked through the weather.
async fn options(gerrit: &Gerrit, weather: &Weather, gitlab: &Gitlab) -> WorldOptions {
    let (user, password) = Account::Robot.login();
    let url = weather.url();
    let mut options = WorldOptions { hosts: 1, ..WorldOptions::default() }.with_telling_gitlab(gitlab);
    options.secrets.insert("gerrit", password.to_owned());
    options.secrets.insert("gerrit-hooks", HOOK.to_owned());
    let mut options = options
        .with(
            Service::Controller,
            &format!(
                "[forges.gerrit]\nkind = \"gerrit\"\nurl = \"{url}/\"\nuser = \"{user}\"\npassword_file = \"secrets/gerrit\"\n\
                 resync = \"5s\"\nsecret_files = [\"secrets/gerrit-hooks\"]\n"
            ),
        )
        .with(
            Service::VcsWorker,
            &format!("[[sources]]\nurl = \"{url}/\"\nprivate = true\nusername = \"{user}\"\ncredential = \"secrets/gerrit\"\n"),
        );
    for (project, executor) in PROJECTS {
        gerrit.project(project).await;
        let rules = format!(
            "executor = \"{executor}\"\nforge = \"gerrit\"\nproject = \"{project}\"\n[[repositories.{project}.on]]\nevent = \"review\""
        );
        options = options.with_repository(project, &format!("{url}/a/{project}"), &rules);
    }
    options
}
