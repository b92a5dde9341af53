//! Making and revoking tokens.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use signalbox_contract::api::Page;
use signalbox_contract::api::token::{Revocations, Revoked, TokenCreated, TokenInfo};
use signalbox_contract::grant::{Action, Grant};

use crate::house::{House, answer, expect, on_repos, refused};

fn wish(principal: &str, lifetime: u32, grants: &[Grant]) -> Value {
    json!({ "principal": principal, "audience": "controller", "lifetime": lifetime, "grants": grants })
}

async fn make(house: &House, principal: &str, lifetime: u32, grants: &[Grant]) -> TokenCreated {
    expect(house.post("/tokens", &wish(principal, lifetime, grants)), StatusCode::CREATED).await
}

// Threat 9.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_listed_and_revoked_at_once() {
    let mut house = House::open().await;
    let reader = [on_repos(&[Action::Read], &["team/*"])];
    let made = make(&house, "robot", 3600, &reader).await;
    answer(house.by(&made.token, Method::GET, "/status"), StatusCode::OK).await;
    let _ = make(&house, "another", 3600, &reader).await;
    let page: Page<TokenInfo> = expect(house.get("/tokens?limit=1"), StatusCode::OK).await;
    assert_eq!(page.items, std::slice::from_ref(&made.info));
    let text = answer(house.get("/tokens"), StatusCode::OK).await.text().await.expect("text");
    assert!(!text.contains(&made.token) && !text.contains("eyJ"), "tokens themselves are kept nowhere");
    let next = page.next.expect("another page");
    let page: Page<TokenInfo> = expect(house.get(&format!("/tokens?limit=1&cursor={next}")), StatusCode::OK).await;
    assert_eq!((page.items[0].principal.as_str(), page.next), ("another", None));

    let path = format!("/tokens/{}", made.info.jti);
    let gone: Revoked = expect(house.by(house.token(), Method::DELETE, &path), StatusCode::OK).await;
    assert_eq!(gone, Revoked { jti: made.info.jti, listed: true });
    refused(house.by(&made.token, Method::GET, "/status"), 401).await;
    answer(house.by(house.token(), Method::DELETE, &path), StatusCode::OK).await;
    let revoked: Revocations = expect(house.bare(Method::GET, "/revocations"), StatusCode::OK).await;
    assert_eq!(revoked.revoked, [made.info.jti]);
    house.dies();
    house.comes_back().await;
    refused(house.by(&made.token, Method::GET, "/status"), 401).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_or_takes_more_than_they_have() {
    let house = House::open().await;
    let narrow = on_repos(&[Action::Read, Action::Tokens], &["team/*"]);
    let narrow = make(&house, "narrow", 3600, &[narrow]).await;
    let by = |body: &Value| house.by(&narrow.token, Method::POST, "/tokens").json(body);
    for grants in [
        vec![on_repos(&[Action::Read], &["*"])],
        vec![on_repos(&[Action::Read], &["team/**"])],
        vec![on_repos(&[Action::Start], &["team/*"])],
        vec![on_repos(&[Action::Read], &["team/*"]), Grant::everything()],
    ] {
        let problem = refused(by(&wish("sly", 60, &grants)), 403).await;
        assert_eq!(problem.errors[0].field, "grants");
    }
    let _: TokenCreated = expect(by(&wish("child", 60, &[on_repos(&[Action::Read], &["team/*"])])), StatusCode::CREATED).await;
    let mighty = make(&house, "mighty", 3600, &[Grant::everything()]).await;
    let path = format!("/tokens/{}", mighty.info.jti);
    refused(house.by(&narrow.token, Method::DELETE, &path), 403).await;
    answer(house.by(&mighty.token, Method::GET, "/status"), StatusCode::OK).await;

    let reader = make(&house, "reader", 3600, &[on_repos(&[Action::Read], &["*"])]).await;
    refused(house.by(&reader.token, Method::GET, "/tokens"), 403).await;
    refused(house.by(&reader.token, Method::POST, "/tokens").json(&wish("x", 60, &[])), 403).await;
    refused(house.by(&reader.token, Method::DELETE, &path), 403).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_makes_no_sense_names_the_field() {
    let house = House::open().await;
    let good = wish("robot", 60, &[on_repos(&[Action::Read], &["*"])]);
    for (field, value) in [
        ("principal", json!("")),
        ("principal", json!("a b")),
        ("principal", json!("<i>")),
        ("principal", json!("x".repeat(101))),
        ("principal", json!(7)),
        ("audience", json!("vcs-worker")),
        ("audience", json!("everybody")),
        ("lifetime", json!(0)),
        ("lifetime", json!(40_000_000)),
        ("lifetime", json!(-1)),
        ("grants", json!([])),
        ("grants", json!("all")),
        ("grants", json!(vec![json!({ "actions": ["read"] }); 21])),
        ("grants[0].actions[0]", json!([{ "actions": ["fly"] }])),
        ("grants[0].repos[0]", json!([{ "actions": ["read"], "repos": [""] }])),
        ("grants[0].everything", json!([{ "actions": ["read"], "everything": true }])),
        ("jti", json!("x")),
    ] {
        let mut body = good.clone();
        body[field.split('[').next().unwrap_or(field)] = value;
        let problem = refused(house.post("/tokens", &body), 400).await;
        assert_eq!(problem.errors[0].field, field, "{problem:?}");
    }
    let page: Page<TokenInfo> = expect(house.get("/tokens"), StatusCode::OK).await;
    assert!(page.items.is_empty());
    assert_eq!(refused(house.by(house.token(), Method::DELETE, "/tokens/x"), 400).await.errors[0].field, "jti");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_made_with_the_keys_is_revoked_by_its_id() {
    let house = House::open().await;
    let jti = "01936f00-0000-7000-8000-000000000000";
    let narrow = make(&house, "narrow", 3600, &[on_repos(&[Action::Tokens], &["*"])]).await;
    refused(house.by(&narrow.token, Method::DELETE, &format!("/tokens/{jti}")), 403).await;
    answer(house.by(house.token(), Method::DELETE, &format!("/tokens/{jti}")), StatusCode::OK).await;
    let revoked: Revocations = expect(house.bare(Method::GET, "/revocations"), StatusCode::OK).await;
    assert_eq!(revoked.revoked.iter().map(ToString::to_string).collect::<Vec<_>>(), [jti]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_revoked_at_once_are_all_revoked() {
    let house = House::open().await;
    let reader = [on_repos(&[Action::Read], &["team/*"])];
    for _ in 0..10 {
        let mut made = Vec::new();
        for _ in 0..8 {
            made.push(make(&house, "robot", 3600, &reader).await);
        }
        let revoke = |jti: uuid::Uuid| {
            let request = house.by(house.token(), Method::DELETE, &format!("/tokens/{jti}"));
            async { answer(request, StatusCode::OK).await }
        };
        futures_util::future::join_all(made.iter().map(|token| revoke(token.info.jti))).await;
        for token in &made {
            refused(house.by(&token.token, Method::GET, "/status"), 401).await;
        }
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_what_is_not_on_the_list_says_so() {
    let house = House::open().await;
    let unknown = "01a204c1-0000-7000-8000-00000000dead".parse().expect("an id");
    for _ in 0..2 {
        let gone: Revoked = expect(house.by(house.token(), Method::DELETE, &format!("/tokens/{unknown}")), StatusCode::OK).await;
        assert_eq!(gone, Revoked { jti: unknown, listed: false });
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_come_in_pages_whose_sum_is_all_of_them() {
    let house = House::open().await;
    let ids: Vec<String> = (1..=5).map(|n| format!("01936f00-0000-7000-8000-00000000000{n}")).collect();
    for jti in ids.iter().rev() {
        answer(house.by(house.token(), Method::DELETE, &format!("/tokens/{jti}")), StatusCode::OK).await;
    }
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page: Revocations = expect(house.bare(Method::GET, &format!("/revocations?{query}")), StatusCode::OK).await;
        assert!(page.revoked.len() <= 2);
        seen.extend(page.revoked.iter().map(ToString::to_string));
        let Some(next) = page.next else { break };
        query = format!("limit=2&cursor={next}");
    }
    assert_eq!(seen, ids);
    house.close().await;
}
