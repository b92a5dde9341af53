//! The tour of README, as a newcomer types it: what its transcripts show is what is seen.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use signalbox_service::process::{Bounds, Program};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::home;

/// Where programs are, ours first.
fn path() -> String {
    let ours = Path::new(env!("CARGO_BIN_EXE_signalbox")).parent().expect("a folder");
    format!("{}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ours.display())
}

/// The commands of the tour, each with what it is said to print.
fn told() -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).expect("readable");
    let blocks = readme.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands = blocks.flat_map(|block| block.split("$ ").skip(1).map(str::to_owned).collect::<Vec<_>>());
    // A command of the shell's may hold the sign itself; none of ours does.
    commands.map(|told| told.split_once('\n').map(|(command, shown)| (command.to_owned(), shown.to_owned())).expect("a line")).collect()
}

/// What differs each time, by its kind; and no spaces, since tables are as wide as what is in them.
fn ordinary(text: &str) -> String {
    let kinds = [
        (r"\b[0-9a-hjkmnp-tv-z]{26}\b", "RUN"),
        (r"\b([0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{12})\b", "DIGEST"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "MOMENT"),
        (r"\d+\.\d s\b", "TIME"),
        (r"\s+", ""),
    ];
    kinds.iter().fold(text.to_owned(), |text, (kind, name)| {
        Regex::new(kind).expect("a pattern").replace_all(&text, regex::NoExpand(name)).into_owned()
    })
}

/// Whether this is what was told. What was left out there, `…`, may be anything.
fn assert_as_told(command: &str, told: &str, shown: &str) {
    let pattern = ordinary(told).split('…').map(regex::escape).collect::<Vec<_>>().join(".*");
    let pattern = Regex::new(&format!("^{pattern}$")).expect("a pattern");
    assert!(pattern.is_match(&ordinary(shown)), "$ {command}\n{shown}\nREADME says:\n{told}");
}

/// The first run that a text names.
fn run_in(text: &str) -> Option<String> {
    let run = Regex::new(r"\b[0-9a-hjkmnp-tv-z]{26}\b").expect("a pattern");
    run.find(text).map(|found| found.as_str().to_owned())
}

/// What a line of the shell prints, errors and progress too.
async fn typed(home: &Path, before: &str, command: &str) -> String {
    let script = format!("exec 2>&1\n{before}\n{command}");
    let shell = Program::new("bash").args(["-c", &script]).dir(home).env("PATH", path()).env("HOME", home);
    let said = shell.run(Bounds::new(Duration::from_mins(1))).await.expect("it ends");
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[tokio::test]
async fn the_tour_of_the_readme_goes_as_it_says() {
    let home = home();
    let script = "umask 022; exec signalbox try --folder try --keep </dev/null 2>&1";
    let trying = Program::new("/bin/sh").args(["-c", script]).dir(home.path()).env("PATH", path()).env("HOME", home.path());
    let mut running = trying.start().expect("it starts");
    let mut lines = BufReader::new(running.stdout.take().expect("its output")).lines();
    let mut tried = String::new();
    let until_it_stays = async {
        while let Some(line) = lines.next_line().await.expect("readable") {
            tried.push_str(&line);
            tried.push('\n');
            if line.contains("until Ctrl-C") {
                return;
            }
        }
        panic!("it ended: {tried}");
    };
    tokio::time::timeout(Duration::from_mins(2), until_it_stays).await.expect("it says that it stays");

    let mut tour = told().into_iter();
    let (first, shown) = tour.next().expect("a tour");
    let demonstrated = tried.split(&format!("$ {first}\n")).nth(1).and_then(|rest| rest.split("\n$ ").next()).expect("the same command");
    assert_as_told(&first, &shown, demonstrated);
    let mut runs: BTreeMap<String, String> = run_in(&shown).into_iter().zip(run_in(demonstrated)).collect();

    let mut before: String = tried.lines().filter(|line| line.trim_start().starts_with("export ")).collect::<Vec<_>>().join("\n");
    let mut commands = 0;
    for (command, told) in tour {
        if told.trim().is_empty() {
            before = format!("{before}\n{command}");
            continue;
        }
        let meant = runs.iter().fold(command.clone(), |command, (told, run)| command.replace(told, run));
        let shown = typed(home.path(), &before, &meant).await;
        assert_as_told(&command, &told, &shown);
        // The answer that names a run first says which one it is.
        if let (Some(told), Some(run)) = (run_in(&told), run_in(&shown)) {
            runs.entry(told).or_insert(run);
        }
        commands += 1;
        // Whoever reads on while a run is under way finds it ended.
        let idle = async { while !typed(home.path(), &before, "signalbox status").await.starts_with("queued: none\nbuilding: none") {} };
        tokio::time::timeout(Duration::from_mins(1), idle).await.expect("all runs end");
    }
    assert!(commands >= 6, "the commands are found: {commands}");

    // What is mistyped there is answered with what was meant, perhaps.
    let unknown = typed(home.path(), &before, "signalbox environments tset").await;
    assert!(unknown.contains("There is no such environment") && unknown.contains("There is: test."), "{unknown}");
    let never = typed(home.path(), &before, "signalbox rollback test nope.txt --follow; echo $?").await;
    assert!(never.contains("Nothing was ever deployed as nope.txt") && never.ends_with("In test is deployed: hello.txt.\n1\n"), "{never}");
    let blob = typed(home.path(), &before, "signalbox blobs get helo.txt").await;
    assert!(blob.contains("Nothing of this name or digest is there") && blob.contains("`signalbox blobs list`"), "{blob}");
    let passed = runs.values().next().expect("a run");
    let again = typed(home.path(), &before, &format!("signalbox rerun {passed}; echo $?")).await;
    assert!(again.contains("Every step passed") && again.contains(&format!("`signalbox rerun {passed} --from start`")), "{again}");
    assert!(again.ends_with("\n5\n"), "{again}");
    let kept = typed(home.path(), &before, "signalbox environments test --wide").await;
    let digests = Regex::new("sha256:[0-9a-f]{64}").expect("a pattern");
    let digests: Vec<&str> = digests.find_iter(&kept).map(|found| found.as_str()).collect();
    let forward = typed(home.path(), &before, &format!("signalbox rollback test hello.txt --digest {} --follow", digests[1])).await;
    assert!(forward.ends_with("is active now.\n"), "{forward}");

    let itself = rustix::process::Pid::from_raw(running.id().cast_signed()).expect("a process");
    rustix::process::kill_process(itself, rustix::process::Signal::INT).expect("it is there");
    let ended = async { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} };
    tokio::time::timeout(Duration::from_mins(1), ended).await.expect("it ends");
}
