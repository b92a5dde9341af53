//! Names that would like to be something else.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::House;

// Threat 34.
#[tokio::test]
async fn hostile_names_are_refused_and_touch_nothing() {
    let house = House::open().await;
    let long = "a".repeat(201);
    let names = [
        "..",
        "../x",
        "%2e%2e%2fx",
        "%2e%2e/x",
        "%252e%252e%252fx",
        "..%5cx",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "a//b",
        "a/",
        ".",
        "./x",
        "a/./b",
        "a/../b",
        "x%00",
        "%00",
        "%c0%ae%c0%ae",
        "%ff%fe",
        "e%cc%81",
        "%c3%a9",
        "%e2%80%ae",
        "x.",
        "x%20",
        "%20x",
        "x%0a",
        "x%0d%0aSet-Cookie:%20a=b",
        "CON:",
        "-rf",
        ".lock",
        ".tmp",
        "a*b",
        "a;b",
        "a%3fb",
        "a%23b",
        "%",
        "%2",
        "%zz",
        "~x",
        "a/.git",
        "a%7cb",
        long.as_str(),
    ];
    for name in names {
        for method in ["PUT", "GET", "HEAD", "DELETE"] {
            let mut socket = TcpStream::connect(house.address).await.expect("a connection");
            let request = format!(
                "{method} /blobs/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: 1\r\n\r\nx",
                house.all()
            );
            socket.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 4"), "{method} {name}: {answer}");
            if answer.starts_with("HTTP/1.1 400") && method != "HEAD" {
                assert!(answer.contains(r#""errors":[{"field":"name""#), "{method} {name}: {answer}");
            }
            assert!(!answer.to_ascii_lowercase().contains("set-cookie"), "{answer}");
        }
    }
    let entries: Vec<String> = {
        let mut names: Vec<String> =
            std::fs::read_dir(house.data()).expect("a folder").map(|entry| entry.expect("one").file_name().display().to_string()).collect();
        names.retain(|name| !name.contains(".db"));
        names.sort();
        names
    };
    assert_eq!(entries, ["blobs", "incoming", "lock"]);
    assert_eq!(house.files(), (0, 0));
    house.close().await;
}

// Threat 34.
#[tokio::test]
async fn names_of_our_own_files_are_ordinary_names() {
    let house = House::open().await;
    for name in ["lock", "incoming/x", "blobs/ab/cd", "artifact-store.db", "artifact-store.db-wal", "a@b=c,d~e+f", "x.tmp"] {
        assert_eq!(house.put(name, name.to_owned()).await.status(), 201, "{name}");
        assert_eq!(house.bytes(name).await.expect("there"), name.as_bytes());
    }
    let house = house.reopen(|_| ()).await;
    assert_eq!(house.bytes("artifact-store.db").await.expect("there"), b"artifact-store.db");
    assert_eq!(house.bytes("incoming%2Fx").await.expect("an encoded slash is a slash"), b"incoming/x");
    house.close().await;
}
