//! The real Gerrit, from the push to the vote.
//!
//! One story after the other with one server: it takes seconds to start.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use signalbox_contract::{Origin, RunId};
use signalbox_service::testing::eventually;

use super::super::testing::RealGerrit;
use super::*;
use crate::forge::{Closing, Proposal, Severity, Standing};

const SOON: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_gerrit_is_understood_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut gerrit) = RealGerrit::start(folder.path()).await else { return };
    the_doctor_finds_nothing(&gerrit).await;
    each_event_is_understood(&gerrit).await;
    the_vote_goes_to_the_patch_set_that_was_built(&gerrit).await;
    what_gerrit_does_not_take_is_noticed(&gerrit).await;
    what_is_open_is_found_without_an_event(&gerrit).await;
    a_host_key_that_is_not_pinned_is_refused(&gerrit, folder.path()).await;
    an_account_that_may_not_stream_is_told_so(&gerrit).await;
    a_stream_that_is_cut_comes_back(&mut gerrit).await;
}

async fn the_doctor_finds_nothing(gerrit: &RealGerrit) {
    let findings = gerrit.forge().examine(&["demo".to_owned()]).await;
    assert!(findings.len() >= 4 && findings.iter().all(|finding| finding.severity == Severity::Fine), "{findings:?}");
    let mut settings = gerrit.settings("dev");
    settings.label = "Nope".to_owned();
    let dev = Gerrit::new(settings, SystemClock::shared()).expect("settings");
    let findings = dev.examine(&["demo".to_owned()]).await;
    let faults: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(faults.iter().any(|fault| fault.detail.contains("may not stream")), "{findings:?}");
    assert!(faults.iter().all(|fault| !fault.hint.is_empty()), "{findings:?}");
}

/// The stream, with what each event meant.
struct Watched {
    gerrit: Gerrit,
    stream: BoxStream<'static, Streamed>,
}

impl Watched {
    async fn new(gerrit: &RealGerrit) -> Self {
        let gerrit = gerrit.forge();
        let mut watched = Self { stream: gerrit.stream().expect("a stream"), gerrit };
        assert_eq!(watched.next().await, Streamed::Connected);
        watched
    }

    async fn next(&mut self) -> Streamed {
        tokio::time::timeout(SOON, self.stream.next()).await.expect("in time").expect("it never ends")
    }

    /// The next event of this type.
    async fn event(&mut self, kind: &str) -> Result<Vec<Happening>, Untranslated> {
        loop {
            if let Streamed::Event(line) = self.next().await {
                let admitted = self.gerrit.admit_streamed(&line).expect("readable");
                if admitted.kind == kind {
                    return self.gerrit.translate(&admitted.kind, &admitted.body);
                }
            }
        }
    }
}

async fn each_event_is_understood(gerrit: &RealGerrit) {
    let mut watched = Watched::new(gerrit).await;
    let change = ["changes", "demo~1"];
    let at = |last: &'static str| [change[0], change[1], last];

    let sha = gerrit.propose(1, "one", "").await;
    let [Happening::Proposed { head, proposal, wip, .. }] = &*watched.event("patchset-created").await.expect("understood") else {
        panic!()
    };
    assert_eq!((head.sha.as_str(), head.patch_set, head.change.number, *wip), (&*sha, Some(1), 1, false));
    assert_eq!((head.ref_name.as_str(), head.branch.as_str(), proposal), ("refs/changes/01/1/1", "master", &Proposal::Uploaded));

    gerrit.act("dev", &at("wip"), json!({})).await;
    let [Happening::Proposed { wip: true, proposal: Proposal::Seen, .. }] = &*watched.event("wip-state-changed").await.expect("understood")
    else {
        panic!()
    };
    gerrit.act("dev", &at("ready"), json!({})).await;
    let [Happening::Proposed { wip: false, proposal: Proposal::Ready, .. }] =
        &*watched.event("wip-state-changed").await.expect("understood")
    else {
        panic!()
    };
    gerrit.act("dev", &at("private"), json!({})).await;
    gerrit.act("dev", &at("private.delete"), json!({})).await;
    let [Happening::Proposed { private: false, proposal: Proposal::Ready, .. }] =
        &*watched.event("private-state-changed").await.expect("understood")
    else {
        panic!()
    };
    gerrit.act("dev", &at("hashtags"), json!({"add": ["h1"]})).await;
    assert!(matches!(watched.event("hashtags-changed").await, Err(Untranslated::NotNeeded(_))));

    let second = gerrit.propose(1, "one, again", "%topic=t1").await;
    let [Happening::Proposed { head, hashtags, .. }] = &*watched.event("patchset-created").await.expect("understood") else { panic!() };
    assert_eq!(
        (head.sha.as_str(), head.patch_set, head.topic.as_deref(), &hashtags[..]),
        (&*second, Some(2), Some("t1"), &["h1".to_owned()][..])
    );

    let review = ["changes", "demo~1", "revisions", "2", "review"];
    gerrit.act("dev", &review, json!({"message": "looks fine"})).await;
    assert!(matches!(watched.event("comment-added").await, Err(Untranslated::NotNeeded(_))));
    gerrit.act("dev", &review, json!({"labels": {"Code-Review": 1}, "message": "a hiccup\n\nrecheck"})).await;
    let [Happening::Proposed { proposal: Proposal::Recheck { by, .. }, .. }] = &*watched.event("comment-added").await.expect("understood")
    else {
        panic!()
    };
    assert_eq!(by, "dev");
    gerrit.act("dev", &review, json!({"comments": {"/PATCHSET_LEVEL": [{"message": "recheck"}]}})).await;
    let [Happening::Proposed { proposal: Proposal::Recheck { .. }, .. }] = &*watched.event("comment-added").await.expect("understood")
    else {
        panic!()
    };
    gerrit.act("robot", &review, json!({"message": "recheck", "labels": {"Verified": 1}})).await;
    assert_eq!(watched.event("comment-added").await, Err(Untranslated::Ours));

    gerrit.act("dev", &at("abandon"), json!({})).await;
    let [Happening::Closed { closing: Closing::Abandoned, .. }] = &*watched.event("change-abandoned").await.expect("understood") else {
        panic!()
    };
    gerrit.act("dev", &at("restore"), json!({})).await;
    let [Happening::Proposed { proposal: Proposal::Ready, .. }] = &*watched.event("change-restored").await.expect("understood") else {
        panic!()
    };

    gerrit.vote("admin", 1, "2", "Code-Review", 2).await;
    gerrit.act("admin", &at("submit"), json!({})).await;
    let merged = watched.event("change-merged").await.expect("understood");
    let [Happening::Closed { closing: Closing::Merged, .. }, Happening::Moved { ref_name, sha: Some(tip), merged: Some(_), .. }] = &*merged
    else {
        panic!("{merged:?}")
    };
    assert_eq!((ref_name.as_str(), tip.as_str()), ("refs/heads/master", &*second));

    let tag = gerrit.put("admin", &["projects", "demo", "tags", "v1"], json!({"revision": "master"})).await;
    assert_eq!(tag["ref"], "refs/tags/v1");
    loop {
        let Ok(happened) = watched.event("ref-updated").await else { continue };
        let [Happening::Moved { ref_name, sha: Some(at), .. }] = &*happened else { panic!("{happened:?}") };
        if ref_name.as_str() == "refs/tags/v1" {
            assert_eq!(at.as_str(), second);
            break;
        }
    }
    let doomed = gerrit.propose(2, "two", "").await;
    let [Happening::Proposed { head, .. }] = &*watched.event("patchset-created").await.expect("understood") else { panic!() };
    assert_eq!(head.sha.as_str(), doomed);
    gerrit.delete("admin", &["changes", "demo~2"]).await;
    let [Happening::Closed { closing: Closing::Deleted, .. }] = &*watched.event("change-deleted").await.expect("understood") else {
        panic!()
    };
    drop(watched);
    eventually("ssh ends with the stream", SOON, || async { gerrit.connections("robot").await.is_empty().then_some(()) }).await;
}

fn review(head: signalbox_contract::change::ReviewHead, standing: Standing, run: u8) -> Review {
    let run: RunId = format!("{run}{}", "0".repeat(25)).parse().expect("a run");
    Review {
        origin: Origin::Review(head),
        run,
        standing,
        overtaken: None,
        summary: "build: fine\n\nrecheck".to_owned(),
        url: format!("https://signalbox.example.org/view/runs/{run}").parse().expect("an address"),
        build: None,
    }
}

/// What a patch set of `demo` is called.
async fn head_of(gerrit: &RealGerrit, number: u64, sha: &str) -> signalbox_contract::change::ReviewHead {
    let heads = gerrit.forge().heads(&[watched("demo")]).await.expect("found");
    let found = heads.into_iter().find_map(|happening| match happening {
        Happening::Proposed { head, .. } if head.change.number == number && head.sha.as_str() == sha => Some(head),
        _ => None,
    });
    found.expect("it is open")
}

/// Our vote as everybody sees it, on the newest patch set.
async fn seen_vote(gerrit: &RealGerrit, id: &str) -> i64 {
    let detail = gerrit.get("dev", &["changes", id, "detail"], &[]).await;
    let all = detail["labels"]["Verified"]["all"].as_array().cloned().unwrap_or_default();
    all.iter().find(|vote| vote["username"] == "robot").and_then(|vote| vote["value"].as_i64()).unwrap_or(0)
}

async fn ours(gerrit: &RealGerrit, id: &str) -> Vec<(u64, String)> {
    let detail = gerrit.get("dev", &["changes", id, "detail"], &[]).await;
    let messages = detail["messages"].as_array().cloned().unwrap_or_default();
    let own = messages.iter().filter(|message| message["author"]["username"] == "robot");
    own.map(|message| (message["_revision_number"].as_u64().unwrap_or(0), message["message"].as_str().unwrap_or("").to_owned())).collect()
}

async fn the_vote_goes_to_the_patch_set_that_was_built(gerrit: &RealGerrit) {
    let forge = gerrit.forge();
    let first = gerrit.propose(3, "three", "").await;
    let first = head_of(gerrit, 3, &first).await;

    assert!(forge.tell(&review(first.clone(), Standing::Started, 1)).await.expect("told").written);
    assert!(forge.tell(&review(first.clone(), Standing::Passed, 1)).await.expect("told").written);
    assert_eq!(seen_vote(gerrit, "demo~3").await, 1);
    // Told again, nothing is written again.
    assert_eq!(forge.tell(&review(first.clone(), Standing::Passed, 1)).await.expect("told"), Told::default());
    let (on, last) = ours(gerrit, "demo~3").await.pop().expect("a message");
    assert_eq!(on, 1);
    assert!(last.contains("Verified+1") && last.contains("/view/runs/1000"), "{last}");

    // Another run of the same withdraws the vote until it knows better.
    assert!(forge.tell(&review(first.clone(), Standing::Started, 2)).await.expect("told").written);
    assert_eq!(seen_vote(gerrit, "demo~3").await, 0);
    assert!(forge.tell(&review(first.clone(), Standing::Failed, 2)).await.expect("told").written);
    assert_eq!(seen_vote(gerrit, "demo~3").await, -1);

    // A newer patch set comes, and then a late word on the older one: it does the newer one no harm.
    let second = gerrit.propose(3, "three, again", "").await;
    let second = head_of(gerrit, 3, &second).await;
    assert_eq!(seen_vote(gerrit, "demo~3").await, 0);
    assert!(forge.tell(&review(first.clone(), Standing::Passed, 3)).await.expect("told").written);
    assert_eq!(forge.tell(&review(first.clone(), Standing::Passed, 3)).await.expect("told"), Told::default());
    assert_eq!(ours(gerrit, "demo~3").await.pop().expect("a message").0, 1);
    assert_eq!(seen_vote(gerrit, "demo~3").await, 0);
    assert!(forge.tell(&review(second, Standing::Passed, 4)).await.expect("told").written);
    assert_eq!(seen_vote(gerrit, "demo~3").await, 1);
}

async fn what_gerrit_does_not_take_is_noticed(gerrit: &RealGerrit) {
    let sha = gerrit.propose(4, "four", "").await;
    let head = head_of(gerrit, 4, &sha).await;
    let passed = review(head, Standing::Passed, 1);

    let mut settings = gerrit.settings("robot");
    settings.label = "Nope".to_owned();
    let told = Gerrit::new(settings, SystemClock::shared()).expect("settings").tell(&passed).await.expect("told");
    assert!(told.written && told.remarks.len() == 1 && told.remarks[0].contains("Nope"), "{told:?}");

    let dev = Gerrit::new(gerrit.settings("dev"), SystemClock::shared()).expect("settings");
    let Err(ForgeError::Refused(failure)) = dev.tell(&passed).await else { panic!("it may not vote") };
    assert!(failure.detail.contains("403") && failure.hint.contains("right to vote"), "{failure:?}");

    let mut settings = gerrit.settings("robot");
    settings.password = Some(SecretString::from("wrong-canary"));
    let wrong = Gerrit::new(settings, SystemClock::shared()).expect("settings");
    let Err(ForgeError::Refused(failure)) = wrong.tell(&passed).await else { panic!("it may not log in") };
    assert!(failure.hint.contains("password") && !format!("{failure:?}").contains("canary"), "{failure:?}");

    gerrit.act("dev", &["changes", "demo~4", "abandon"], json!({})).await;
    let failed = review(passed.origin.review().expect("a review").clone(), Standing::Failed, 2);
    let told = gerrit.forge().tell(&failed).await.expect("told");
    assert!(told.written && told.remarks.len() == 1 && told.remarks[0].contains("closed"), "{told:?}");
    assert!(ours(gerrit, "demo~4").await.pop().expect("a message").1.contains("Signalbox: failed"));

    let mut nowhere = review(passed.origin.review().expect("a review").clone(), Standing::Passed, 3);
    if let Origin::Review(head) = &mut nowhere.origin {
        head.change.number = 4711;
    }
    let Err(ForgeError::Refused(failure)) = gerrit.forge().tell(&nowhere).await else { panic!("it is not there") };
    assert!(failure.detail.contains("404"), "{failure:?}");
}

async fn what_is_open_is_found_without_an_event(gerrit: &RealGerrit) {
    let sha = gerrit.propose(5, "five", "%wip,topic=t5").await;
    let heads = gerrit.forge().heads(&[watched("nowhere"), watched("demo")]).await.expect("found");
    let open: Vec<u64> = heads
        .iter()
        .filter_map(|happening| match happening {
            Happening::Proposed { head, proposal: Proposal::Seen, wip, .. } if head.change.number == 5 => {
                assert_eq!((head.sha.as_str(), head.topic.as_deref(), *wip), (&*sha, Some("t5"), true));
                assert_eq!(head.url.as_ref().map(url::Url::path), Some("/c/demo/+/5"));
                Some(5)
            }
            Happening::Proposed { head, .. } => Some(head.change.number),
            _ => None,
        })
        .collect();
    // 1 is merged, 2 deleted, 4 abandoned.
    assert!(open.contains(&3) && open.contains(&5) && open.len() == 2, "{open:?}");
    let branches: Vec<&str> = heads
        .iter()
        .filter_map(|happening| match happening {
            Happening::Moved { ref_name, sha: Some(_), .. } => Some(ref_name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(branches, ["refs/heads/master", "refs/tags/v1"]);
    for (number, closing) in [(1, Closing::Merged), (2, Closing::Deleted), (4, Closing::Abandoned)] {
        let change = ChangeId { forge: "gerrit".parse().expect("a name"), project: "demo".to_owned(), number };
        let found = gerrit.forge().change(&change).await.expect("an answer");
        assert_eq!(found, Some(Happening::Closed { change, closing }), "{number}");
    }
    let five = ChangeId { forge: "gerrit".parse().expect("a name"), project: "demo".to_owned(), number: 5 };
    let found = gerrit.forge().change(&five).await.expect("an answer");
    assert!(matches!(found, Some(Happening::Proposed { wip: true, .. })), "{found:?}");
    // The plugin is not there, and nothing is the worse for it.
    assert!(gerrit.forge().events_since(jiff::Timestamp::UNIX_EPOCH).await.expect("answered").is_none());
}

async fn first_cut(gerrit: &Gerrit) -> String {
    let mut stream = gerrit.stream().expect("a stream");
    match tokio::time::timeout(SOON, stream.next()).await.expect("in time") {
        Some(Streamed::Cut { why }) => why,
        other => panic!("{other:?}"),
    }
}

async fn a_host_key_that_is_not_pinned_is_refused(gerrit: &RealGerrit, folder: &std::path::Path) {
    let known_hosts = folder.join("other hosts");
    let pinned = std::fs::read_to_string(gerrit.known_hosts()).expect("readable");
    let other: Vec<&str> = pinned.lines().take(1).collect();
    std::fs::write(&known_hosts, other.join("").replace("127.0.0.1", "127.0.0.2")).expect("written");
    let mut settings = gerrit.settings("robot");
    settings.ssh.as_mut().expect("set").known_hosts = known_hosts;
    let why = first_cut(&Gerrit::new(settings, SystemClock::shared()).expect("settings")).await;
    assert!(why.contains("is in the file of known hosts") && !why.contains("debug"), "{why}");
}

async fn an_account_that_may_not_stream_is_told_so(gerrit: &RealGerrit) {
    let why = first_cut(&Gerrit::new(gerrit.settings("dev"), SystemClock::shared()).expect("settings")).await;
    assert!(why.contains("not permitted"), "{why}");
}

async fn a_stream_that_is_cut_comes_back(gerrit: &mut RealGerrit) {
    let mut watched = Watched::new(gerrit).await;
    gerrit.cut("robot").await;
    assert!(matches!(watched.next().await, Streamed::Cut { .. }));
    assert_eq!(watched.next().await, Streamed::Connected);

    gerrit.kill().await;
    let cut = watched.next().await;
    assert!(matches!(cut, Streamed::Cut { .. }), "{cut:?}");
    let passed = review(
        signalbox_contract::change::ReviewHead {
            change: signalbox_contract::change::ChangeId {
                forge: "gerrit".parse().expect("a name"),
                project: "demo".to_owned(),
                number: 3,
            },
            patch_set: Some(2),
            sha: SHA.parse().expect("a commit"),
            ref_name: "refs/changes/03/3/2".parse().expect("a ref"),
            branch: "master".parse().expect("a branch"),
            topic: None,
            url: None,
        },
        Standing::Passed,
        1,
    );
    assert!(matches!(watched.gerrit.tell(&passed).await, Err(ForgeError::Unreachable(_))));
    gerrit.start_again().await;
    loop {
        match watched.next().await {
            Streamed::Cut { .. } => {}
            other => break assert_eq!(other, Streamed::Connected),
        }
    }
    gerrit.propose(6, "six", "").await;
    assert!(watched.event("patchset-created").await.is_ok());
}
