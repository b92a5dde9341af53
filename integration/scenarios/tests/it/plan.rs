//! The plan that all this began with, whole: a change in Gerrit is mirrored into GitLab, built there by its runner, voted on,
//! submitted, deployed, and run on the hosts.

use signalbox_contract::api::run::Outcome;
use signalbox_fakes::gitlab::state::status::Status;
use signalbox_scenarios::hello_source;

use crate::hello::{copy, run_on};
use crate::yard::{Track, Yard};

/// A checkout gives files the times at which they were written; equal times keep `make` from making anew what the archive
/// brings, with tools that may not be there; the manual page is made of the program, by such a tool.
const DEFINITION: &str = "\
stages: [build, test, package]
compile:
  stage: build
  script:
    - find . -path ./.git -prune -o -type f -exec touch -d @1000000000 {} +
    - ./configure --quiet
    - make --silent HELP2MAN='touch hello.1-t; :'
  artifacts: {paths: [hello]}
greet:
  stage: test
  script:
    - ./hello | tee greeting
    - grep -q 'Hello, world!' greeting
about:
  stage: test
  script: ['./hello --version | head -n 1']
pack:
  stage: package
  script:
    - mkdir -p out
    - strip -o out/gnu-hello hello
  artifacts: {paths: [out/]}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_gnu_hello_goes_from_gerrit_through_gitlab_to_the_hosts() {
    let Some(source) = hello_source().await else { return };
    let Some(yard) = Yard::new(&[Track::new("gnu-hello")], |_| ()).await else { return };
    let mut workspace = yard.gerrit.clone_of("gnu-hello").await;
    copy(&source, workspace.path()).await;
    workspace.write(&[(".gitlab-ci.yml", DEFINITION)]);

    let change = workspace.propose("GNU hello as Debian has it", "").await;
    let view = yard.world.judged(&yard.gerrit, "gnu-hello", &change, 1, Outcome::Passed).await;
    let build = view.steps.iter().find(|step| step.name == "build").expect("a build");
    let mut parts: Vec<&str> = build.attempts[0].parts.iter().map(|part| part.name.as_str()).collect();
    parts.sort_unstable();
    assert_eq!(parts, ["about", "compile", "greet", "pack"]);
    yard.world.until_part_log(view.summary.id, "about", "hello (GNU Hello)").await;
    assert_eq!(yard.gerrit.vote(change.number).await, 1);
    let said = yard.gerrit.said(change.number).await;
    let run = view.summary.id.to_string();
    assert!(said.iter().all(|said| said.patch_set == 1 && said.words.contains(&run)), "{said:#?}");
    assert_eq!(yard.world.shown(0, "gnu-hello"), None, "a change under review is not deployed");
    let pipelines = yard.gitlab.pipelines("gnu-hello");
    assert_eq!(pipelines.len(), 1, "{pipelines:#?}");
    assert_eq!((pipelines[0].sha.as_str(), pipelines[0].status), (change.sha.as_str(), Status::Success));

    yard.told("gnu-hello").await;
    yard.gerrit.submit(change.number).await;
    let tip = yard.gerrit.tip("gnu-hello").await;
    let run = yard.world.run_at("gnu-hello", &tip).await;
    yard.world.ends(run.id, Outcome::Passed).await;
    yard.settled("Pipeline Hook", 1).await;
    for host in &yard.world.hosts {
        assert_eq!(run_on(host, "gnu-hello").await, "Hello, world!\n");
    }
    let pipelines = yard.gitlab.pipelines("gnu-hello");
    assert_eq!(pipelines.len(), 2, "{pipelines:#?}");
    assert_eq!((pipelines[1].ref_name.as_str(), pipelines[1].sha.as_str()), ("master", tip.as_str()));
    assert_eq!(yard.gerrit.votes(change.number).await, [(1, vec![1])].into(), "the branch's run votes on no change");
    yard.close().await;
}
