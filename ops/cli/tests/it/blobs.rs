//! Fetching blobs from a store that cannot be trusted to send what it says.

use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::{Said, home, installed, say_with};

/// Of `hello`.
const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/// A store that answers everything with these bytes, and this header.
async fn store(header: String, body: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut asked = String::new();
            while !asked.ends_with("\r\n\r\n") && stream.read_line(&mut asked).await.is_ok_and(|count| count > 0) {}
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n{header}\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.expect("sent");
        }
    });
    address
}

async fn get(home: &Path, url: &str, arguments: &[&str]) -> Said {
    let token = home.join("site/tokens/admin-store").display().to_string();
    let asked = [("SIGNALBOX_STORE_URL", url), ("SIGNALBOX_STORE_TOKEN_FILE", &token)];
    let arguments: Vec<&str> = ["blobs", "get"].iter().chain(arguments).copied().collect();
    say_with(home, &arguments, &asked).await
}

#[tokio::test]
async fn bytes_that_are_not_what_the_store_announced_are_not_kept() {
    let home = home();
    installed(home.path()).await;
    let file = home.path().join("hello");
    std::fs::write(&file, "old").expect("written");
    let kept = || std::fs::read_to_string(&file).expect("readable");
    let tag = format!("etag: \"{DIGEST}\"\r\n");
    let other = format!("sha256:{}", "0".repeat(64));

    let rotten = store(tag.clone(), "hullo").await;
    let said = get(home.path(), &rotten, &["hello", "-o", "hello"]).await;
    assert!(said.code == Some(6) && said.err.contains("other bytes came"), "{said:?}");
    let said = get(home.path(), &rotten, &["hello"]).await;
    assert!(said.code == Some(6) && said.err.contains("is not to be used"), "{said:?}");
    for header in ["", "etag: \"1\"\r\n"] {
        let silent = store(header.to_owned(), "hello").await;
        let said = get(home.path(), &silent, &["hello", "-o", "hello"]).await;
        assert!(said.code == Some(6) && said.err.contains("names no digest"), "{said:?}");
        assert_eq!(get(home.path(), &silent, &["hello"]).await.out, "", "nothing is printed");
    }
    let good = store(tag, "hello").await;
    let said = get(home.path(), &good, &[&other, "-o", "hello"]).await;
    assert!(said.code == Some(6) && said.err.contains("instead of what was asked for"), "{said:?}");
    assert_eq!((kept().as_str(), home.path().join("hello.part").exists()), ("old", false));

    for wanted in ["hello", DIGEST] {
        let said = get(home.path(), &good, &[wanted, "-o", "hello"]).await;
        assert!(said.code == Some(0) && said.out.contains(DIGEST), "{said:?}");
        assert_eq!(kept(), "hello");
    }
}

#[tokio::test]
async fn what_is_damaged_in_the_store_is_named_and_ends_with_one() {
    let home = home();
    installed(home.path()).await;
    let token = home.path().join("site/tokens/admin-store").display().to_string();
    let damaged = r#"{"blobs":2,"bytes":5,"stored":5,"rotten":[{"digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","size":5,"damage":"changed","names":["team/hello"]}]}"#;
    let sound = r#"{"blobs":2,"bytes":5,"stored":5,"rotten":[]}"#;
    for (answer, code, words) in [(damaged, 1, ["changed", "team/hello"]), (sound, 0, ["2 blobs", "all of them are what was stored"])] {
        let url = store("content-type: application/json\r\n".to_owned(), answer).await;
        let asked = [("SIGNALBOX_STORE_URL", url.as_str()), ("SIGNALBOX_STORE_TOKEN_FILE", &token)];
        let said = say_with(home.path(), &["blobs", "scrub"], &asked).await;
        assert!(said.code == Some(code) && words.iter().all(|word| said.out.contains(word)), "{said:?}");
        let said = say_with(home.path(), &["blobs", "scrub", "--json"], &asked).await;
        assert!(said.code == Some(code) && said.out.contains("\"blobs\": 2"), "{said:?}");
    }
}
