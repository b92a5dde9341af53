//! Answers that are too large, cut, of another type, or lead to elsewhere.

use std::time::Duration;

use super::server::{Server, TOKEN, answer, client, target};
use crate::gitlab::{Connection, GitLab, GitLabError, Health, NewPipeline, PipelineQuery, ProjectRef};

fn project() -> ProjectRef {
    ProjectRef::from("team/sub group/hello")
}

const PIPELINE: &str = r#"{"id":7,"status":"running","sha":"abc"}"#;

#[tokio::test]
async fn a_projects_path_is_one_encoded_segment_and_the_token_is_a_header() {
    let server = Server::new(|_| answer("200 OK", "", PIPELINE)).await;
    server.client().pipeline(&project(), 7).await.expect("read");
    let seen = server.seen();
    assert_eq!(target(&seen[0]), "/api/v4/projects/team%2Fsub%20group%2Fhello/pipelines/7");
    assert!(seen[0].contains(&format!("private-token: {TOKEN}")));
}

#[tokio::test]
async fn an_installation_below_a_path_is_used() {
    let server = Server::new(|_| answer("200 OK", "", PIPELINE)).await;
    let gitlab = client(server.url().join("tools/gitlab").expect("a URL"));
    gitlab.pipeline(&3.into(), 7).await.expect("read");
    assert_eq!(target(&server.seen()[0]), "/tools/gitlab/api/v4/projects/3/pipelines/7");
}

#[tokio::test]
async fn what_is_missing_is_borne_and_what_is_used_is_checked() {
    for (body, readable) in [
        (PIPELINE, true),
        (r#"{"id":7,"status":"brand_new_word","sha":"abc","ref":null,"web_url":5,"updated_at":"soon","user":[]}"#, true),
        (r#"{"id":"7","status":"running","sha":"abc"}"#, false),
        (r#"{"status":"running","sha":"abc"}"#, false),
        (r#"{"id":7,"status":{"x":1},"sha":"abc"}"#, false),
        (r#"{"id":1e400,"status":"running","sha":"abc"}"#, false),
        ("[]", false),
        ("", false),
        ("<html><body>Sign in</body></html>", false),
    ] {
        let server = Server::new(move |_| answer("200 OK", "", body)).await;
        let result = server.client().pipeline(&project(), 7).await;
        assert_eq!(result.is_ok(), readable, "{body}");
        assert!(readable || matches!(result, Err(GitLabError::Unreadable { .. })), "{body}");
    }
}

// Threat 68.
#[tokio::test]
async fn deep_json_and_a_body_without_end_are_refused() {
    let deep = "[".repeat(100_000);
    let server = Server::new(move |_| answer("200 OK", "", &deep)).await;
    assert!(matches!(server.client().pipeline(&project(), 7).await, Err(GitLabError::Unreadable { .. })));
    let huge = format!("\"{}\"", "x".repeat(9 << 20));
    let server = Server::new(move |_| answer("200 OK", "", &huge)).await;
    let error = server.client().pipeline(&project(), 7).await.expect_err("too large");
    assert!(error.to_string().contains("larger"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_cut_leaves_a_start_unknown() {
    let cut = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"id\":7,".to_vec();
    let server = Server::new(move |_| cut.clone()).await;
    let gitlab = server.client();
    let started = gitlab.create_pipeline(&project(), &NewPipeline { ref_name: "main".to_owned(), ..NewPipeline::default() }).await;
    assert!(matches!(started, Err(GitLabError::Unknown(_))), "{started:?}");
    let read = gitlab.pipeline(&project(), 7).await;
    assert!(matches!(read, Err(GitLabError::Unreadable { .. })), "{read:?}");
    // A connection that ends before any answer.
    let server = Server::new(|_| Vec::new()).await;
    let started = server.client().create_pipeline(&project(), &NewPipeline::default()).await;
    assert!(matches!(started, Err(GitLabError::Unknown(_))), "{started:?}");
}

#[tokio::test]
async fn what_never_arrived_is_known_not_to_have() {
    let server = Server::new(|_| Vec::new()).await;
    let gitlab = server.client();
    server.task_ends().await;
    let started = gitlab.create_pipeline(&project(), &NewPipeline::default()).await;
    assert!(matches!(started, Err(GitLabError::NotSent(_))), "{started:?}");
}

// Threat 68.
#[tokio::test]
async fn a_renamed_project_is_followed_by_readers_alone_and_never_to_another_origin() {
    let server = Server::new(|head| match target(head) {
        "/api/v4/projects/9/pipelines/7" => answer("200 OK", "", PIPELINE),
        _ => answer("301 Moved Permanently", "location: /api/v4/projects/9/pipelines/7\r\n", ""),
    })
    .await;
    let gitlab = server.client();
    assert_eq!(gitlab.pipeline(&project(), 7).await.expect("followed").id, 7);
    let started = gitlab.create_pipeline(&project(), &NewPipeline::default()).await;
    assert!(matches!(started, Err(GitLabError::Moved)), "{started:?}");

    let other = Server::new(|_| answer("200 OK", "", PIPELINE)).await;
    let elsewhere = format!("location: http://{}/api/v4/projects/9/pipelines/7\r\n", other.address);
    let server = Server::new(move |_| answer("302 Found", &elsewhere, "")).await;
    let read = server.client().pipeline(&project(), 7).await;
    assert!(matches!(read, Err(GitLabError::Unreadable { .. })), "{read:?}");
    assert_eq!(other.seen(), Vec::<String>::new(), "nobody else is asked, and sees no token");

    let server = Server::new(|head| answer("302 Found", &format!("location: {}\r\n", target(head)), "")).await;
    assert!(matches!(server.client().pipeline(&project(), 7).await, Err(GitLabError::Unreadable { .. })), "a loop ends");
}

// Threat 68.
#[tokio::test]
async fn pages_are_followed_by_link_within_the_origin_and_not_without_end() {
    let server = Server::new(|head| {
        let page: u64 = target(head).split("page=").last().and_then(|page| page.parse().ok()).unwrap_or(0);
        let body = format!(r#"[{{"id":{page},"status":"success","sha":"abc"}}]"#);
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        let link = format!("link: <http://{host}/api/v4/projects/1/pipelines?page={}>; rel=\"next\"\r\n", page + 1);
        answer("200 OK", &link, &body)
    })
    .await;
    let listed = server.client().pipelines(&1.into(), &PipelineQuery::default(), 4).await.expect("listed");
    assert_eq!((listed.items.len(), listed.more), (4, true), "a list without end is cut");

    let other = Server::new(|_| answer("200 OK", "", "[]")).await;
    let link = format!("link: <http://{}/api/v4/projects/1/pipelines?page=2>; rel=\"next\"\r\n", other.address);
    let server = Server::new(move |_| answer("200 OK", &link, "[]")).await;
    let listed = server.client().pipelines(&1.into(), &PipelineQuery::default(), 4).await;
    assert!(matches!(listed, Err(GitLabError::Unreadable { .. })), "{listed:?}");
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_limit_is_honoured_without_asking_again() {
    let server = Server::new(|_| answer("429 Too Many Requests", "retry-after: 60\r\n", r#"{"message":"Retry later"}"#)).await;
    let gitlab = server.client();
    let first = gitlab.pipeline(&project(), 7).await;
    assert!(matches!(first, Err(GitLabError::RateLimited { after: Some(after) }) if after == Duration::from_mins(1)), "{first:?}");
    let second = gitlab.pipeline(&project(), 7).await;
    assert!(matches!(second, Err(GitLabError::RateLimited { .. })), "{second:?}");
    assert_eq!(server.seen().len(), 1, "the second was not even sent");
    assert!(matches!(gitlab.health(), Health::Limited { left } if left > Duration::from_secs(50)), "{:?}", gitlab.health());
}

#[tokio::test]
async fn a_gitlab_that_is_down_is_left_alone_for_a_while() {
    let server = Server::new(|_| answer("502 Bad Gateway", "", "<html>GitLab is not responding</html>")).await;
    let gitlab = server.client();
    for _ in 0..10 {
        let read = gitlab.pipeline(&project(), 7).await;
        assert!(matches!(read, Err(GitLabError::Unavailable { .. })), "{read:?}");
    }
    assert_eq!(server.seen().len(), 5);
    assert!(matches!(gitlab.health(), Health::Resting { .. }));
}

#[tokio::test]
async fn a_token_that_a_server_repeats_comes_into_no_message() {
    let server = Server::new(|_| answer("401 Unauthorized", "", format!(r#"{{"message":"401 {TOKEN} is expired"}}"#))).await;
    let gitlab = server.client();
    let error = gitlab.pipeline(&project(), 7).await.expect_err("refused");
    assert!(matches!(error, GitLabError::Unauthorized { .. }));
    assert!(!format!("{error} {error:?} {gitlab:?}").contains(TOKEN));
    assert!(error.to_string().contains("is expired"), "{error}");
}

#[test]
fn a_token_is_not_sent_in_the_clear() {
    use crate::gitlab::{Connection, GitLab};
    for address in ["http://gitlab.example/", "ftp://gitlab.example/", "https://me:secret@gitlab.example/", "https://gitlab.example/?a=b"] {
        let connection = Connection::new(address.parse().expect("a URL"), TOKEN.into());
        assert!(GitLab::new(&connection).is_err(), "{address}");
    }
}

#[tokio::test]
async fn a_token_that_was_changed_in_its_file_is_used_from_then_on() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let write = |token: &str| {
        std::fs::write(&file, token).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("private");
    };
    write("glpat-old");
    let server = Server::new(|_| answer("200 OK", "", PIPELINE)).await;
    let connection = Connection { token_file: Some(file.clone()), ..Connection::new(server.url(), "glpat-old".into()) };
    let gitlab = GitLab::new(&connection).expect("a client");
    gitlab.pipeline(&project(), 7).await.expect("read");
    write("glpat-new");
    let changed = || async {
        gitlab.pipeline(&project(), 7).await.expect("read");
        server.seen().last().is_some_and(|head| head.contains("private-token: glpat-new")).then_some(())
    };
    signalbox_service::testing::eventually("the new one is used", Duration::from_secs(20), changed).await;
    // While there is none to be read, the last one is used.
    std::fs::remove_file(&file).expect("removed");
    gitlab.pipeline(&project(), 7).await.expect("read");
    assert!(server.seen().iter().all(|head| head.contains("private-token: glpat-old") || head.contains("private-token: glpat-new")));
}
