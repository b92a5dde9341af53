//! Following what happens elsewhere: a run, a log.

use std::time::Duration;

use serde_json::{Value, json};
use signalbox_service::process::{Bounds, Program};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::{home, installed, say_with};

/// A controller whose connections are cut: what it answers to each request about the run, and about its log.
pub(super) async fn cutting_controller() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let part = serde_json::json!({ "part": "build", "name": "build", "state": { "state": "running" } });
    let attempt = serde_json::json!({
        "key": format!("{RUN}-1-1"), "ended": false, "phase": "running", "started_at": "2026-01-01T00:00:00Z", "parts": [part],
    });
    let step = serde_json::json!({
        "index": 1, "name": "build", "stage": "build", "kind": "build", "state": "active", "attempts": [attempt],
    });
    let summary = serde_json::json!({
        "id": RUN, "number": 1, "kind": "cd", "state": "building", "principal": "me", "accepted_at": "2026-01-01T00:00:00Z",
    });
    let run = serde_json::json!({ "summary": summary, "steps": [step], "actions": [], "version": 1 }).to_string();
    let head = |status: &str, length: usize, more: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\netag: \"1\"\r\n{more}\r\n")
    };
    let log = "signalbox-log-next: 8\r\nsignalbox-log-complete: true\r\n";
    let runs = [format!("{}{run}", head("200 OK", run.len(), "")), String::new(), format!("{}{{\"summ", head("200 OK", run.len(), ""))];
    let logs = [format!("{}one\n", head("200 OK", 8, log)), String::new(), String::new()];
    let rest = format!("{}two\n", head("206 Partial Content", 4, log));
    tokio::spawn(async move {
        let (mut runs, mut logs) = (runs.into_iter(), logs.into_iter());
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut asked = String::new();
            while !asked.ends_with("\r\n\r\n") && stream.read_line(&mut asked).await.is_ok_and(|count| count > 0) {}
            let answer = if asked.contains("/log") {
                logs.next().unwrap_or_else(|| if asked.contains("range: bytes=4-") { rest.clone() } else { String::new() })
            } else {
                runs.next().unwrap_or_else(|| head("304 Not Modified", 0, ""))
            };
            stream.write_all(answer.as_bytes()).await.expect("sent");
        }
    });
    address
}

pub(super) const RUN: &str = "01jd8qk4wmfvt9e3v1n0t2m6xz";

#[tokio::test]
async fn following_a_log_survives_connections_that_are_cut_and_prints_nothing_twice() {
    let home = home();
    let (site, _) = installed(home.path()).await;
    let token = site.join("tokens/admin").display().to_string();
    let url = cutting_controller().await;
    let said = say_with(home.path(), &["logs", "-f", RUN], &[("SIGNALBOX_URL", &url), ("SIGNALBOX_TOKEN_FILE", &token)]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "one\ntwo\n"), "{said:?}");
}

/// A controller that accepts a run, and answers, to each request about it and about its log, what comes next, and the last for ever.
async fn telling_controller(runs: Vec<Value>, logs: Vec<(&'static str, &'static str)>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let (mut run, mut log) = (0, 0);
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut asked = String::new();
            while !asked.ends_with("\r\n\r\n") && stream.read_line(&mut asked).await.is_ok_and(|count| count > 0) {}
            let (head, body) = if asked.starts_with("POST ") {
                ("HTTP/1.1 202 Accepted\r\n".to_owned(), json!({ "run": RUN, "url": format!("/runs/{RUN}") }).to_string())
            } else if asked.contains("/log") {
                let (head, body) = logs[log.min(logs.len() - 1)];
                log += 1;
                (head.to_owned(), body.to_owned())
            } else {
                run += 1;
                (format!("HTTP/1.1 200 OK\r\netag: \"{run}\"\r\n"), runs[(run - 1).min(runs.len() - 1)].to_string())
            };
            let answer = format!("{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.expect("sent");
        }
    });
    address
}

/// A run that was looked at: for each step its name, and how many seconds it took if it has ended.
fn seen(steps: &[(&str, Option<u8>)]) -> Value {
    let finished = steps.len() == 2 && steps.iter().all(|(_, took)| took.is_some());
    let view = |(index, (name, took)): (usize, &(&str, Option<u8>))| {
        let mut attempt = json!({
            "key": format!("{RUN}-{index}-1"), "ended": took.is_some(), "phase": "running", "started_at": "2026-01-01T00:00:00Z",
            "parts": [{ "part": "build", "name": "build", "state": { "state": "running" }, "has_log": true }],
        });
        if let Some(took) = took {
            attempt["verdict"] = json!("success");
            attempt["finished_at"] = json!(format!("2026-01-01T00:00:0{took}Z"));
        }
        let state = if took.is_some() { "ended" } else { "active" };
        let kind = if *name == "build" { "build" } else { "mirror" };
        json!({ "index": index, "name": name, "stage": name, "kind": kind, "state": state, "attempts": [attempt] })
    };
    let steps: Vec<Value> = steps.iter().enumerate().map(view).collect();
    let mut summary = json!({
        "id": RUN, "number": 1, "kind": "cd", "state": "building", "principal": "me", "accepted_at": "2026-01-01T00:00:00Z",
    });
    if finished {
        summary["state"] = json!("finished");
        summary["outcome"] = json!("passed");
        summary["finished_at"] = json!("2026-01-01T00:00:03Z");
    }
    json!({ "summary": summary, "steps": steps, "actions": [], "version": 1 })
}

#[tokio::test]
async fn what_happened_between_two_looks_is_told_in_the_order_of_the_steps() {
    let home = home();
    let (site, _) = installed(home.path()).await;
    let token = site.join("tokens/admin").display().to_string();
    // The first step has ended and the second one speaks already; then all is over, and the last of the log comes late.
    let runs = vec![seen(&[("mirror", Some(1)), ("build", None)]), seen(&[("mirror", Some(1)), ("build", Some(2))])];
    let some = "HTTP/1.1 200 OK\r\nsignalbox-log-next: 4\r\nsignalbox-log-complete: false\r\n";
    let none = "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-type: application/problem+json\r\n";
    let rest = "HTTP/1.1 206 Partial Content\r\nsignalbox-log-next: 8\r\nsignalbox-log-complete: true\r\n";
    let problem = "{\"type\":\"about:blank\",\"title\":\"no more yet\",\"status\":416,\"code\":\"invalid-request\"}";
    let url = telling_controller(runs, vec![(some, "one\n"), (none, problem), (rest, "two\n")]).await;
    let script = format!("exec \"$0\" rerun {RUN} --follow 2>&1");
    let followed = Program::new("/bin/sh").args(["-c", &script, env!("CARGO_BIN_EXE_signalbox")]).dir(home.path());
    let followed =
        followed.env("PATH", "/usr/bin:/bin").env("HOME", home.path()).env("SIGNALBOX_URL", url).env("SIGNALBOX_TOKEN_FILE", token);
    let said = followed.run(Bounds::new(Duration::from_mins(1))).await.expect("it ends");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let expected = ["mirror: passed in 1.0 s", "one", "two", "build: passed in 2.0 s", &format!("run {RUN} passed in 3.0 s")];
    assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), expected, "{text}");
}

#[tokio::test]
async fn what_is_the_matter_with_a_step_is_told_once_while_it_is_tried_again() {
    let home = home();
    let (site, _) = installed(home.path()).await;
    let token = site.join("tokens/admin").display().to_string();
    let troubled = |why: &str| {
        let mut view = seen(&[("mirror", None)]);
        view["steps"][0]["reason"] = json!(why);
        view["steps"][0]["attempts"][0]["parts"] = json!([]);
        view
    };
    let (refused, late) = ("is tried again: Connection refused.", "is tried again: It took too long.");
    let runs = [refused, refused, "", refused, "is read", late, late].map(troubled);
    let runs: Vec<Value> = runs.into_iter().chain([seen(&[("mirror", Some(1)), ("build", Some(2))])]).collect();
    let log = "HTTP/1.1 200 OK\r\nsignalbox-log-next: 4\r\nsignalbox-log-complete: true\r\n";
    let told = [format!("mirror: {refused}"), format!("mirror: {late}")];
    for typed in [&["rerun", RUN, "--follow"][..], &["logs", "-f", RUN]] {
        for (json, expected) in [(None, &told[..]), (Some("--json"), &[])] {
            let url = telling_controller(runs.clone(), vec![(log, "one\n")]).await;
            let typed: Vec<&str> = typed.iter().copied().chain(json).collect();
            let said = say_with(home.path(), &typed, &[("SIGNALBOX_URL", &url), ("SIGNALBOX_TOKEN_FILE", &token)]).await;
            let lines: Vec<&str> = said.err.lines().filter(|line| line.contains("tried again")).collect();
            assert_eq!((said.code, lines), (Some(0), expected.iter().map(String::as_str).collect()), "{typed:?}: {said:?}");
            assert!(
                !said.out.contains("tried again") && said.out.contains(if json.is_none() { "one" } else { "{" }),
                "{typed:?}: {said:?}"
            );
        }
    }
}
