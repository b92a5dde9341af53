//! Bytes that lie elsewhere, or that do not end.

use bytes::BytesMut;
use http::StatusCode;
use url::Url;

use super::server::{Server, TOKEN, answer};
use crate::gitlab::{Connection, Download, GitLab, GitLabError, Span};

async fn all(mut download: Download) -> Result<Vec<u8>, GitLabError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = download.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.to_vec())
}

fn with_storage(server: &Server, storage: Url) -> GitLab {
    let connection = Connection { storage: vec![storage], ..Connection::new(server.url(), TOKEN.into()) };
    GitLab::new(&connection).expect("a client")
}

#[tokio::test]
async fn object_storage_that_was_named_is_followed_without_the_token() {
    let storage = Server::new(|_| answer("200 OK", "", "the bytes")).await;
    let location = format!("location: {}bucket/object?signature=x\r\n", storage.url());
    let server = Server::new(move |_| answer("302 Found", &location, "")).await;
    let gitlab = with_storage(&server, storage.url());
    let download = gitlab.artifact(&1.into(), 2, "out/hello").await.expect("followed");
    assert_eq!(all(download).await.expect("whole"), b"the bytes");
    let seen = storage.seen().concat().to_ascii_lowercase();
    assert!(seen.starts_with("get /bucket/object?signature=x"), "{seen}");
    assert!(!seen.contains("token") && !seen.contains("canary"), "{seen}");
}

// Threat 68.
#[tokio::test]
async fn a_redirect_to_an_inside_address_is_not_followed() {
    let inside = Server::new(|_| answer("200 OK", "", "secrets")).await;
    let port = inside.address.port();
    for target in [
        format!("http://127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("https://localhost:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "https://169.254.169.254/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "https://user:password@storage.example/".to_owned(),
        "//127.0.0.1/".to_owned(),
    ] {
        let location = format!("location: {target}\r\n");
        let server = Server::new(move |_| answer("302 Found", &location, "")).await;
        let download = server.client().artifact(&1.into(), 2, "out/hello").await;
        assert!(matches!(download, Err(GitLabError::Unreadable { .. } | GitLabError::NotSent(_))), "{target}: {download:?}");
    }
    assert!(inside.seen().is_empty());
}

#[tokio::test]
async fn a_storage_that_redirects_on_is_held_to_the_same_rules() {
    let inside = Server::new(|_| answer("200 OK", "", "secrets")).await;
    let location = format!("location: {}\r\n", inside.url());
    let storage = Server::new(move |_| answer("307 Temporary Redirect", &location, "")).await;
    let location = format!("location: {}\r\n", storage.url());
    let server = Server::new(move |_| answer("302 Found", &location, "")).await;
    let download = with_storage(&server, storage.url()).artifact(&1.into(), 2, "out/hello").await;
    assert!(matches!(download, Err(GitLabError::Unreadable { .. })), "{download:?}");
    assert!(inside.seen().is_empty());
}

#[tokio::test]
async fn a_refusal_of_the_storage_is_not_taken_for_one_of_gitlab() {
    let storage = Server::new(|_| answer("401 Unauthorized", "", "")).await;
    let location = format!("location: {}\r\n", storage.url());
    let server = Server::new(move |_| answer("302 Found", &location, "")).await;
    let download = with_storage(&server, storage.url()).artifact(&1.into(), 2, "out/hello").await;
    assert!(matches!(download, Err(GitLabError::Unreadable { .. })), "{download:?}");
}

#[tokio::test]
async fn a_download_that_is_cut_is_an_error_and_never_an_end() {
    let server = Server::new(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this".to_vec()).await;
    let download = server.client().artifact(&1.into(), 2, "out/hello").await.expect("begun");
    assert_eq!(download.total(), Some(100));
    assert!(matches!(all(download).await, Err(GitLabError::Unreadable { .. })));
}

#[tokio::test]
async fn a_range_is_believed_only_where_it_was_kept_to() {
    let partial = answer("206 Partial Content", "content-range: bytes 5-8/9\r\n", "5678");
    let server = Server::new(move |_| partial.clone()).await;
    let gitlab = server.client();
    let download = gitlab.trace(&1.into(), 2, 5).await.expect("read").expect("more");
    assert_eq!((download.offset(), download.total()), (5, Some(9)));
    assert!(server.seen()[0].contains("range: bytes=5-"));

    let server = Server::new(|_| answer("200 OK", "", "012345678")).await;
    let download = server.client().trace(&1.into(), 2, 5).await.expect("read").expect("more");
    assert_eq!(download.offset(), 0, "a server that knows no ranges begins at the beginning");

    let none = format!("{} Range Not Satisfiable", StatusCode::RANGE_NOT_SATISFIABLE.as_u16());
    let server = Server::new(move |_| answer(&none, "", "")).await;
    assert!(server.client().archive(&1.into(), 2, Span::Last(10)).await.expect("answered").is_none());
}
