//! Stored bytes in a browser.

use reqwest::Method;

use crate::house::{House, problem};

// Threats 40 and 60.
#[tokio::test]
async fn a_stored_page_is_downloaded_and_never_shown() {
    let house = House::open().await;
    for kind in ["text/html; charset=utf-8", "image/svg+xml"] {
        let script = "<script>alert(1)</script>";
        house.request(Method::PUT, "/blobs/site/page.html").header("content-type", kind).body(script).send().await.expect("an answer");
        for range in ["bytes=0-", "none"] {
            let response = house.request(Method::GET, "/blobs/site/page.html").header("range", range).send().await.expect("an answer");
            let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
            assert_eq!(header("content-type"), kind, "it is kept as it was given");
            assert_eq!(header("content-disposition"), "attachment; filename=\"page.html\"");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert!(header("content-security-policy").starts_with("sandbox;"), "{}", header("content-security-policy"));
            assert_eq!(header("cache-control"), "private, no-cache");
        }
    }
    house.put("plain", "<html>").await;
    assert_eq!(house.get("/blobs/plain").await.headers()["content-type"], "application/octet-stream", "nothing is guessed");
    house.close().await;
}

// Threat 40.
#[tokio::test]
async fn a_content_type_cannot_smuggle() {
    let house = House::open().await;
    let long = format!("a/{}", "b".repeat(300));
    for kind in ["html", "text/html, text/plain/x", "", long.as_str()] {
        let response = house.request(Method::PUT, "/blobs/x").header("content-type", kind).body("x").send().await.expect("an answer");
        let problem = problem(response).await;
        assert_eq!((problem.status, problem.errors[0].field.as_str()), (400, "content-type"), "{kind}");
    }
    house.close().await;
}
