//! Parameters: what is described is read, and nothing else is taken.

use axum::routing::{get, post};
use signalbox_contract::{Code, Problem};
use utoipa::OpenApi as _;

use super::*;

#[utoipa::path(get, path = "/lists/{name}", params(("name" = String, Path), ("limit" = Option<u32>, Query)), responses((status = 200, description = "A list.")))]
#[expect(dead_code, reason = "only its description is used")]
fn list() {}

#[utoipa::path(post, path = "/lists/{name}", params(("name" = String, Path), ("Range" = Option<String>, Header)), responses((status = 200, description = "Made.")))]
#[expect(dead_code, reason = "only its description is used")]
fn make() {}

#[utoipa::path(get, path = "/trees/{name}/leaves", params(("name" = String, Path), ("cursor" = Option<u32>, Query)), responses((status = 200, description = "Leaves.")))]
#[expect(dead_code, reason = "only its description is used")]
fn leaves() {}

#[utoipa::path(get, path = "/trees/{name}", security(()), params(("name" = String, Path)), responses((status = 200, description = "A tree.")))]
#[expect(dead_code, reason = "only its description is used")]
fn tree() {}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, make, leaves, tree))]
struct Description;

/// What is read of the query. What is not described is refused also where the shape would have let it pass.
#[derive(Debug, serde::Deserialize)]
#[expect(dead_code, reason = "only how it is refused matters")]
struct Page {
    limit: Option<Limit<50>>,
    cursor: Option<u32>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only how it is refused matters")]
struct Choice {
    cursor: Option<u32>,
}

fn server() -> Server {
    let routes = Router::new()
        .route("/lists/{name}", get(async |_: Query<Page>| "list").post(async || "made"))
        .route("/trees/{*name}", get(async |_: Query<Choice>| "tree"))
        .route("/other", get(async || "other"));
    let bare = without_parameters(Router::new().route("/bare", post(async || "bare")));
    Server::start(described_parameters(routes, &Description::openapi()).merge(bare), quick())
}

#[tokio::test]
async fn a_parameter_that_is_not_described_is_refused_and_named() {
    let server = server();
    let ask = async |method: &str, path: &str| {
        let url = format!("http://{}{path}", server.address);
        reqwest::Client::new().request(method.parse().expect("a method"), url).send().await.expect("an answer")
    };
    for (method, path) in [
        ("GET", "/lists/a"),
        ("GET", "/lists/a?"),
        ("GET", "/lists/a?limit=3"),
        ("HEAD", "/lists/a?limit=3"),
        ("GET", "/lists/a?li%6dit=3"),
        ("POST", "/lists/a"),
        ("GET", "/trees/a/b/leaves?cursor=1"),
        ("GET", "/trees/a/b"),
        ("GET", "/other?whatever=1"),
        ("POST", "/bare"),
        // What takes a token has words of its own for this one.
        ("GET", "/lists/a?access_token=x"),
    ] {
        assert_eq!(ask(method, path).await.status(), 200, "{method} {path}");
    }
    for (method, path, field) in [
        ("GET", "/lists/a?limit=3&page=2", "page"),
        ("GET", "/lists/a?Limit=3", "Limit"),
        ("GET", "/lists/a?=3", ""),
        ("GET", "/lists/a?flag", "flag"),
        ("POST", "/lists/a?limit=3", "limit"),
        ("POST", "/lists/a?Range=3", "Range"),
        ("GET", "/trees/a/b?cursor=1", "cursor"),
        ("GET", "/trees/a/b?access_token=hunter2", "access_token"),
        ("GET", "/lists/a?token=hunter2", "token"),
        ("GET", "/lists/a?TOKEN=hunter2", "TOKEN"),
        ("POST", "/bare?x=1", "x"),
        ("GET", "/health/live?x=1", "x"),
    ] {
        let answer = ask(method, path).await;
        assert_eq!(answer.status(), 400, "{method} {path}");
        let problem: Problem = answer.json().await.expect("a problem");
        assert_eq!((problem.code, problem.errors.len()), (Code::InvalidRequest, usize::from(!field.is_empty())), "{method} {path}");
        assert_eq!(problem.errors.first().map_or("", |error| &error.field), field, "{method} {path}: {problem:?}");
        assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
    }
    for (path, fields) in [
        ("/lists/a?zzz=1&limit=x&token=hunter2&cursor=-1", "zzz limit token cursor"),
        ("/lists/a?limit=51&page=2&page=3", "limit page"),
        ("/lists/a?limit=1&limit=2&x=1", "limit x"),
        ("/trees/a/leaves?x=1&cursor=y&token=hunter2", "x cursor token"),
    ] {
        let problem: Problem = ask("GET", path).await.json().await.expect("a problem");
        let told: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(told.join(" "), fields, "{path}: {problem:?}");
        assert!(problem.errors.iter().all(|error| error.field != "token" || error.detail.contains("Authorization")), "{problem:?}");
        assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
    }
    assert_eq!(ask("PUT", "/lists/a?x=1").await.status(), 405, "a method that is not there has no parameters either");
    assert_eq!(ask("GET", "/nowhere?x=1").await.status(), 404);
    server.end().await;
}
