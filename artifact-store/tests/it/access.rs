//! Who may do what.

use std::time::Duration;

use reqwest::Method;
use signalbox_contract::Code;
use signalbox_contract::api::Page;
use signalbox_contract::api::store::BlobInfo;
use signalbox_contract::api::token::Revocations;
use signalbox_contract::grant::Action;
use signalbox_contract::token::Capability;
use signalbox_service::auth::sha256;
use signalbox_service::testing::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::house::{House, attempt, problem};

// Threat 44.
#[tokio::test]
async fn a_reader_without_the_grant_sees_nothing_and_a_writer_is_refused() {
    let house = House::open().await;
    house.put("team/secret", "s").await;
    house.put("mine/x", "m").await;
    let token = house.token(&[Action::BlobRead], "mine/**");
    let digest = sha256(b"s");
    let ask = |method: Method, path: String, token: &str| house.http.request(method, house.url(&path)).bearer_auth(token).body("x").send();
    for path in ["/blobs/team/secret", "/versions/team/secret", "/blobs/team/secret/versions", &format!("/digests/{digest}")] {
        let response = ask(Method::GET, path.to_owned(), &token).await.expect("an answer");
        assert_eq!(problem(response).await.code, Code::NotFound, "{path}");
    }
    assert_eq!(ask(Method::GET, format!("/digests/{}", sha256(b"m")), &token).await.expect("an answer").status(), 200);
    for (method, path) in [(Method::PUT, "/blobs/mine/x"), (Method::DELETE, "/blobs/mine/x"), (Method::PUT, "/blobs/team/new")] {
        assert_eq!(ask(method, path.to_owned(), &token).await.expect("an answer").status(), 403, "{path}");
    }
    let page: Page<BlobInfo> = ask(Method::GET, "/blobs".to_owned(), &token).await.expect("an answer").json().await.expect("a page");
    assert_eq!(page.items.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["mine/x"]);
    let response = house.http.get(house.url("/blobs/mine/x")).send().await.expect("an answer");
    assert_eq!((response.status().as_u16(), response.headers()["www-authenticate"].to_str().expect("text")), (401, "Bearer"));
    house.close().await;
}

#[tokio::test]
async fn a_capability_reads_one_digest_and_nothing_else() {
    let house = House::open().await;
    house.put("x", "one").await;
    house.put("y", "two").await;
    let digest = sha256(b"one");
    let capability = house.capability(attempt(), Capability::ReadDigest { digest });
    let get = |path: String| house.http.get(house.url(&path)).bearer_auth(&capability).send();
    let response = get(format!("/digests/{digest}")).await.expect("an answer");
    assert_eq!(response.headers()["cache-control"], "private, max-age=31536000, immutable");
    assert_eq!(response.bytes().await.expect("bytes"), "one");
    assert_eq!(get(format!("/digests/{}", sha256(b"two"))).await.expect("an answer").status(), 403);
    assert_eq!(get("/blobs/x".to_owned()).await.expect("an answer").status(), 403);
    let absent = sha256(b"absent");
    let capability = house.capability(attempt(), Capability::ReadDigest { digest: absent });
    let response = house.http.get(house.url(&format!("/digests/{absent}"))).bearer_auth(capability).send().await.expect("an answer");
    assert_eq!(response.status(), 404);
    house.close().await;
}

// Threat 9.
#[tokio::test]
async fn a_revoked_token_is_refused_also_when_the_controller_is_gone() {
    let controller = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = controller.local_addr().expect("an address");
    let house = House::with(&format!("controller = \"http://{address}\"")).await;
    let token = house.all();
    let status = async |house: &House| {
        let request = house.http.get(house.url("/blobs")).bearer_auth(&token);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(status(&house).await, 200);
    let (mut asked, _) = controller.accept().await.expect("the store asks");
    let mut head = [0; 4096];
    let length = asked.read(&mut head).await.expect("a question");
    assert!(head[..length].starts_with(b"GET /revocations HTTP/1.1"));
    assert!(!String::from_utf8_lossy(&head[..length]).to_lowercase().contains("authorization"), "it needs no secret");
    let body = serde_json::to_string(&Revocations { revoked: vec![id(&token)], next: None }).expect("JSON");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    asked.write_all(answer.as_bytes()).await.expect("answered");
    let refused = || async { (status(&house).await == 401).then_some(()) };
    eventually("the token is refused", Duration::from_secs(20), refused).await;
    eventually("it is remembered", Duration::from_secs(20), || async { house.data().join("revocations.json").exists().then_some(()) })
        .await;
    drop((asked, controller));
    let house = house.reopen(|_| ()).await;
    eventually("it is refused again", Duration::from_secs(20), || async { (status(&house).await == 401).then_some(()) }).await;
    house.close().await;
}

/// The id by which a token can be revoked.
fn id(token: &str) -> uuid::Uuid {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).expect("claims");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: signalbox_contract::token::OperatorClaims = serde_json::from_slice(&claims).expect("claims");
    claims.jti
}
