//! Mirrors in a GitLab: projects are found or made there, and are what they should be.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use signalbox_contract::api::Answer;
use signalbox_contract::api::mirrors::{MirrorFinding, Severity};
use signalbox_contract::{CommitSha, FailureCode};
use signalbox_fakes::gitlab::fault::AnswerFault;
use signalbox_fakes::gitlab::options::Version;
use signalbox_fakes::gitlab::{FakeGitlab, Options};
use signalbox_service::secret::ExposeSecret as _;
use tempfile::TempDir;

use crate::house::{House, key};

/// A worker with a GitLab beside it, in whose group `mirrors` it may make projects.
struct Town {
    house: House,
    gitlab: FakeGitlab,
    sha: CommitSha,
    folder: TempDir,
}

impl Town {
    async fn open() -> Self {
        Self::with(Version(18, 5)).await
    }

    async fn with(version: Version) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Options::new(folder.path().join("gitlab"));
        options.version = version;
        let gitlab = FakeGitlab::start(options).await.expect("a GitLab");
        gitlab.create_group("mirrors");
        let token = folder.path().join("token");
        std::fs::write(&token, gitlab.root_token().expose_secret()).expect("written");
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).expect("private");
        let entry = format!(
            "[mirrors.lab]\nkind = \"gitlab\"\nurl = \"{}\"\ngroup = \"mirrors\"\ntoken_file = \"{}\"\nprivate = true\n",
            gitlab.url(),
            token.display()
        );
        let house = House::with(&entry, "").await;
        house.source.commit("refs/heads/main", &[(".gitlab-ci.yml", "build:\n  script: [make]\n")]).await;
        let sha = house.mirror(&house.order("main")).await.sha;
        Self { house, gitlab, sha, folder }
    }

    fn project<R>(&self, look: impl FnOnce(&signalbox_fakes::gitlab::state::project::Project) -> R) -> R {
        self.gitlab.with(|state| look(state.project_at("mirrors/team/hello").expect("a project")))
    }

    /// The refs of the pipelines that there are.
    fn pipelines(&self) -> Vec<String> {
        self.gitlab.with(|state| state.pipelines.values().map(|pipeline| pipeline.ref_name.clone()).collect())
    }
}

#[tokio::test]
async fn a_project_is_made_with_its_groups_and_what_is_mirrored_is_neither_default_nor_built() {
    let town = Town::open().await;
    let attempt = key();
    let shown = town.house.publish_at("lab", attempt, &town.sha, json!({})).await;
    assert_eq!(shown.url.as_str(), format!("{}/mirrors/team/hello.git", town.gitlab.url()));
    assert_eq!((shown.ref_name.as_str(), &shown.sha, shown.moved), (format!("refs/heads/cd/{attempt}").as_str(), &town.sha, true));
    assert_eq!(shown.project, Some(town.project(|project| project.id.to_string())));
    assert_eq!(town.project(|project| project.default_branch.clone()).as_deref(), Some("cd/default"));
    assert!(town.project(|project| project.protection(&format!("cd/{attempt}")).is_none()));
    assert_eq!(town.project(|project| project.visibility.word()), "private");
    assert!(!town.project(|project| project.is_on("auto_devops_enabled") || project.is_on("public_jobs")));
    assert_eq!(town.project(|project| project.word("auto_cancel_pending_pipelines").map(str::to_owned)).as_deref(), Some("disabled"));
    assert_eq!(town.pipelines(), Vec::<String>::new(), "its executor starts the pipeline");
    town.house.publish_at("lab", attempt, &town.sha, json!({ "action": "remove" })).await;
    let page: signalbox_contract::api::Page<signalbox_contract::api::mirrors::MirrorInfo> = town.house.get("/mirrors").await;
    let lab = page.items.iter().find(|info| info.mirror.is_some()).expect("the GitLab's");
    assert!(lab.refs.is_empty() && lab.failure.is_none() && lab.project == shown.project, "{lab:?}");
}

#[tokio::test]
async fn two_first_attempts_at_once_make_one_project() {
    let town = Town::open().await;
    let (one, two) =
        tokio::join!(town.house.publish_at("lab", key(), &town.sha, json!({})), town.house.publish_at("lab", key(), &town.sha, json!({})),);
    assert_eq!(one.project, two.project);
    assert_eq!(town.gitlab.with(|state| state.projects.len()), 1);
}

#[tokio::test]
async fn a_project_that_was_made_although_the_answer_was_lost_is_found() {
    let town = Town::open().await;
    town.gitlab.faults().answer(Some(http::Method::POST), "/projects", AnswerFault::Lost, 1);
    town.house.publish_at("lab", key(), &town.sha, json!({})).await;
    assert_eq!(town.gitlab.with(|state| state.projects.len()), 1);
}

#[tokio::test]
async fn a_branch_under_its_own_name_starts_its_pipeline_and_a_protection_is_opened() {
    let town = Town::open().await;
    let same = json!({ "naming": "same", "original": "refs/heads/main" });
    assert!(town.house.publish_at("lab", key(), &town.sha, same.clone()).await.moved);
    let begun = || async { (town.pipelines() == ["main"]).then_some(()) };
    signalbox_service::testing::eventually("the push starts it", crate::house::SOON, begun).await;
    assert!(!town.house.publish_at("lab", key(), &town.sha, same.clone()).await.moved);

    // Somebody protects it, and its source throws its history away.
    let project = town.project(|project| project.id);
    town.gitlab.with(|state| {
        let id = 4711;
        let project = state.projects.get_mut(&project).expect("there");
        project.protected_branches.push(signalbox_fakes::gitlab::state::project::ProtectedBranch {
            id,
            name: "m*".to_owned(),
            push: 40,
            merge: 40,
            unprotect: None,
            allow_force_push: false,
            users: Vec::new(),
            deploy_keys: Vec::new(),
        });
    });
    town.house.source.git(&["update-ref", "-d", "refs/heads/main"], "").await;
    let second = town.house.source.commit("refs/heads/main", &[("other", "history")]).await;
    town.house.mirror(&town.house.order("main")).await;
    assert!(town.house.publish_at("lab", key(), &second, same).await.moved);
    assert!(town.project(|project| project.protected_branches.iter().any(|rule| rule.name == "m*" && rule.allow_force_push)));
}

#[tokio::test]
async fn a_push_under_a_branchs_own_name_whose_answer_was_lost_has_moved_it() {
    let town = Town::open().await;
    let same = json!({ "naming": "same", "original": "refs/heads/main" });
    town.house.publish_at("lab", key(), &town.sha, same.clone()).await;
    for fault in [AnswerFault::Lost, AnswerFault::Cut] {
        let next = town.house.source.commit("refs/heads/main", &[("text", &format!("{fault:?}"))]).await;
        town.house.mirror(&town.house.order("main")).await;
        town.gitlab.faults().answer(Some(http::Method::POST), "git-receive-pack", fault.clone(), 1);
        let attempt = key();
        // Asked again as the controller does, it knows that it was its own push that moved the branch.
        let shown = match town.house.refs_at("lab", attempt, &next, same.clone()).await {
            Ok(signalbox_contract::api::Answer::Done { result }) => result,
            Ok(other) => panic!("{fault:?}: {other:?}"),
            Err(problem) => {
                assert_eq!(problem.status, 503, "{fault:?}: {problem:?}");
                town.house.publish_at("lab", attempt, &next, same.clone()).await
            }
        };
        assert_eq!((shown.sha, shown.moved), (next, true), "{fault:?}");
    }
}

#[tokio::test]
async fn a_ref_at_a_project_that_is_not_shown_any_more_is_not_believed_to_be_gone() {
    let town = Town::open().await;
    let attempt = key();
    town.house.publish_at("lab", attempt, &town.sha, json!({})).await;
    let remove = json!({ "action": "remove" });
    // Neither git nor the API shows anything any more: the token has lost its right.
    town.gitlab.faults().answer_some(None, "/mirrors", AnswerFault::Status(404), 1.0);
    let refused = town.house.refs_at("lab", attempt, &town.sha, remove.clone()).await;
    assert!(!matches!(refused, Ok(signalbox_contract::api::Answer::Done { .. })), "{refused:?}");
    town.gitlab.faults().clear();
    // Somebody renames it: its refs went with it, and are taken away there.
    let (id, namespace) = town.project(|project| (project.id, project.namespace));
    let branch = town.folder.path().join(format!("gitlab/repositories/{id}.git/refs/heads/cd/{attempt}"));
    assert!(branch.exists());
    town.gitlab.with(|state| state.rename_project(id, namespace, "elsewhere", "elsewhere")).expect("renamed");
    town.house.publish_at("lab", attempt, &town.sha, remove).await;
    assert!(!branch.exists());
}

#[tokio::test]
async fn a_push_rule_and_a_project_that_cannot_be_used_are_told_in_words() {
    let town = Town::open().await;
    town.house.publish_at("lab", key(), &town.sha, json!({})).await;
    let id = town.project(|project| project.id);
    town.gitlab.with(|state| {
        state.projects.get_mut(&id).expect("there").push_rules.commit_message_regex = Some("^TICKET-".to_owned());
    });
    let new = town.house.source.commit("refs/heads/main", &[("x", "y")]).await;
    town.house.mirror(&town.house.order("main")).await;
    town.house.publish_fails_at("lab", &new, json!({}), FailureCode::MirrorRefused).await;
    town.gitlab.with(|state| {
        let project = state.projects.get_mut(&id).expect("there");
        project.push_rules.commit_message_regex = None;
        project.archived = true;
    });
    town.house.publish_fails_at("lab", &new, json!({}), FailureCode::MirrorDenied).await;
    town.gitlab.faults().answer(None, "/projects/", AnswerFault::Status(503), 100);
    assert_eq!(town.house.refs_at("lab", key(), &new, json!({})).await.expect_err("not now").status, 503);
    town.gitlab.faults().clear();
    town.gitlab.faults().answer(None, "/projects/", AnswerFault::Html, 100);
    assert_eq!(town.house.refs_at("lab", key(), &new, json!({})).await.expect_err("a page").status, 503);
}

#[tokio::test]
async fn a_clean_project_replaces_the_one_there_was_in_old_and_new_versions() {
    for version in [Version(18, 5), Version(17, 0)] {
        let town = Town::with(version).await;
        let replace = json!({ "naming": "replace", "original": "refs/heads/main" });
        let first = town.house.publish_at("lab", key(), &town.sha, replace.clone()).await;
        assert_eq!((first.ref_name.as_str(), first.moved), ("refs/heads/master", true), "{version}");
        let attempt = key();
        // The answer to the deletion is lost: asked again, the attempt goes on where it was.
        town.gitlab.faults().answer(Some(http::Method::DELETE), "/projects/", AnswerFault::Lost, 1);
        town.house.refs_at("lab", attempt, &town.sha, replace.clone()).await.expect_err("nobody knows");
        let second = town.house.publish_at("lab", attempt, &town.sha, replace.clone()).await;
        assert_ne!(first.project, second.project, "{version}");
        assert!(second.moved);
        assert_eq!(second.project, Some(town.project(|project| project.id.to_string())));
        // A late try of the same attempt replaces nothing.
        assert_eq!(town.house.publish_at("lab", attempt, &town.sha, replace).await, second);
    }
}

#[tokio::test]
async fn the_doctor_says_what_a_token_lacks() {
    let town = Town::open().await;
    let found: Vec<MirrorFinding> = town.house.get("/mirrors/doctor").await;
    assert!(found.iter().any(|finding| finding.mirror.is_some() && finding.detail.contains("GitLab 18.5")), "{found:?}");
    town.gitlab.faults().answer(None, "/personal_access_tokens", AnswerFault::Status(401), 10);
    let found: Vec<MirrorFinding> = town.house.get("/mirrors/doctor").await;
    assert!(found.iter().any(|finding| finding.severity == Severity::Error && !finding.hint.is_empty()), "{found:?}");
}

#[tokio::test]
async fn who_may_set_variables_is_settled_where_the_project_is_ours_from_the_beginning_alone() {
    let strictest = ("ci_pipeline_variables_minimum_override_role".to_owned(), json!("no_one_allowed"));
    for there_before in [false, true] {
        let town = Town::open().await;
        town.gitlab.with(|state| state.new_settings.extend([strictest.clone()]));
        if there_before {
            town.gitlab.create_project("mirrors/team/hello").await.expect("made");
        }
        town.house.publish_at("lab", key(), &town.sha, json!({})).await;
        let role = town.project(|project| project.word("ci_pipeline_variables_minimum_override_role").map(str::to_owned));
        assert_eq!(role.as_deref(), Some(if there_before { "no_one_allowed" } else { "developer" }));
    }
}

#[tokio::test]
async fn a_setting_that_gitlab_takes_and_leaves_as_it_was_is_told_by_the_doctor_with_where_to_change_it() {
    let town = Town::open().await;
    let detail = async |severity: Severity| -> Vec<String> {
        let found: Vec<MirrorFinding> = town.house.get("/mirrors/doctor").await;
        let told =
            found.into_iter().filter(|finding| finding.severity == severity && (severity == Severity::Fine || !finding.hint.is_empty()));
        told.map(|finding| finding.detail).collect()
    };
    town.gitlab.with(|state| state.fixed_settings.extend(["auto_cancel_pending_pipelines".to_owned()]));
    town.house.publish_at("lab", key(), &town.sha, json!({})).await;
    let warnings = detail(Severity::Warning).await;
    let words = "In mirrors/team/hello, auto_cancel_pending_pipelines is enabled, and should be disabled.";
    assert_eq!(warnings.iter().filter(|detail| detail.starts_with("In mirrors/")).collect::<Vec<_>>(), [words], "{warnings:?}");

    town.gitlab.with(|state| {
        let id = state.project_at("mirrors/team/hello").map(|project| project.id).expect("a project");
        let project = state.projects.get_mut(&id).expect("there");
        project.settings.insert("auto_cancel_pending_pipelines".to_owned(), json!("disabled"));
    });
    let fine = detail(Severity::Fine).await;
    assert!(fine.iter().any(|detail| detail.contains("settings of the group's projects are as they should be")), "{fine:?}");
    assert!(fine.iter().any(|detail| detail.contains("clock and the VCS worker's agree")), "{fine:?}");
}

#[tokio::test]
async fn a_project_whose_pipelines_stay_off_is_refused_with_where_to_turn_them_on() {
    let town = Town::open().await;
    town.gitlab.with(|state| {
        state.new_settings.extend([("builds_access_level".to_owned(), json!("disabled"))]);
        state.fixed_settings.extend(["builds_access_level".to_owned()]);
    });
    let sha = town.sha.clone();
    town.house.publish_fails_at("lab", &sha, json!({}), FailureCode::MirrorSettings).await;
}

// Threat 68.
#[tokio::test]
async fn hostile_answers_of_a_mirrors_api_end_in_words_within_bounds_and_the_token_goes_nowhere_else() {
    let town = Town::open().await;
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("set");
    let trap = format!("http://{}/api/v4/projects/1", elsewhere.local_addr().expect("an address"));
    for fault in [
        AnswerFault::Html,
        AnswerFault::WrongType,
        AnswerFault::Huge(64 << 20),
        AnswerFault::Redirect(302, trap.clone()),
        AnswerFault::Redirect(307, trap),
        AnswerFault::Redirect(302, "http://169.254.169.254/latest".to_owned()),
        AnswerFault::Status(500),
        AnswerFault::Cut,
    ] {
        town.gitlab.faults().answer(None, "/api/v4/", fault.clone(), 2);
        let answer = town.house.refs_at("lab", key(), &town.sha, json!({})).await;
        match answer {
            Err(problem) => assert!(problem.status == 503 && !problem.detail.is_empty(), "{fault:?}: {problem:?}"),
            Ok(other) => panic!("{fault:?}: {other:?}"),
        }
        town.gitlab.faults().clear();
        town.gitlab.faults().answer(None, "/api/v4/", fault.clone(), 20);
        let found: Vec<MirrorFinding> = town.house.get("/mirrors/doctor").await;
        assert!(found.iter().any(|finding| finding.severity == Severity::Error && !finding.hint.is_empty()), "{fault:?}: {found:?}");
        town.gitlab.faults().clear();
    }
    let nobody = elsewhere.accept().expect_err("nothing is sent there");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    // Nothing of it is remembered: the next good answer counts, after the rest that a server gets which fails.
    let shown = signalbox_service::testing::eventually("it is shown", std::time::Duration::from_mins(1), async || {
        let answer = town.house.refs_at("lab", key(), &town.sha, json!({})).await;
        matches!(answer, Ok(Answer::Done { .. })).then_some(())
    });
    shown.await;
    assert_eq!(town.gitlab.with(|state| state.projects.len()), 1);
}
