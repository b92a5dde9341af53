//! The pages in a real browser: Debian's Chromium, driven over W3C `WebDriver` by its own driver.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};
use signalbox_contract::api::run::{Outcome, RunState};
use signalbox_contract::{Failure, FailureCode, RunId};
use signalbox_service::process::{Program, Running};
use signalbox_service::testing::{eventually, free_port, not_run};

use crate::deliveries::{acted, delivers, said, setup};
use crate::house::{House, LONG};
use crate::stand_ins::{At, Mood};

/// What a browser needs that runs unseen, as root, without a network of its own.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
];

/// The key under which `WebDriver` names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window.
struct Browser {
    driver: Running,
    session: String,
    http: reqwest::Client,
    _home: tempfile::TempDir,
}

impl Browser {
    /// A browser, if there is one on this machine.
    async fn open() -> Option<Self> {
        let there = ["/usr/bin/chromium", "/usr/bin/chromedriver"].iter().all(|program| Path::new(program).exists());
        if !there {
            not_run("chromium and its driver");
            return None;
        }
        let home = tempfile::tempdir().expect("a folder");
        let address = free_port();
        let driver = Program::new("/usr/bin/chromedriver")
            .arg(format!("--port={}", address.port()))
            .env("HOME", home.path())
            .env("PATH", "/usr/bin:/bin")
            .start()
            .expect("the driver");
        let http = reqwest::Client::builder().no_proxy().timeout(LONG).build().expect("a client");
        eventually("the driver serves", LONG, async || http.get(format!("http://{address}/status")).send().await.ok()).await;
        let session = Self::session(&http, address, home.path()).await;
        Some(Self { driver, session, http, _home: home })
    }

    async fn session(http: &reqwest::Client, address: SocketAddr, home: &Path) -> String {
        let profile = format!("--user-data-dir={}", home.join("profile").display());
        let args: Vec<&str> = FLAGS.into_iter().chain([profile.as_str()]).collect();
        let wish = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": args }, "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let answer: Value =
            http.post(format!("http://{address}/session")).json(&wish).send().await.expect("an answer").json().await.expect("JSON");
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        format!("http://{address}/session/{id}")
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Value {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.session));
        if method == Method::POST {
            request = request.json(body);
        }
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        assert!(answer["value"].get("error").is_none(), "{path}: {answer}");
        answer["value"].clone()
    }

    async fn go(&self, url: &str) {
        self.ask(Method::POST, "/url", &json!({ "url": url })).await;
    }

    /// Waits until the window shows this address: a click is answered before what it leads to is there.
    async fn arrives(&self, url: &str) {
        eventually(url, LONG, async || (self.ask(Method::GET, "/url", &Value::Null).await == url).then_some(())).await;
    }

    async fn find(&self, css: &str) -> String {
        let found = self.ask(Method::POST, "/element", &json!({ "using": "css selector", "value": css })).await;
        found[ELEMENT].as_str().unwrap_or_else(|| panic!("no {css}: {found}")).to_owned()
    }

    async fn click(&self, css: &str) {
        let element = self.find(css).await;
        self.ask(Method::POST, &format!("/element/{element}/click"), &json!({})).await;
    }

    async fn write(&self, css: &str, text: &str) {
        let element = self.find(css).await;
        self.ask(Method::POST, &format!("/element/{element}/value"), &json!({ "text": text })).await;
    }

    /// Waits until the page says so there.
    async fn says(&self, css: &str, words: &str) {
        let script = json!({ "script": "return document.querySelector(arguments[0])?.textContent ?? ''", "args": [css] });
        eventually(words, LONG, async || {
            let text = self.ask(Method::POST, "/execute/sync", &script).await;
            text.as_str().is_some_and(|text| text.contains(words)).then_some(())
        })
        .await;
    }

    /// What the browser itself complains about, such as a breach of the page's own policy.
    async fn complaints(&self) -> Vec<Value> {
        self.ask(Method::POST, "/se/log", &json!({ "type": "browser" })).await.as_array().cloned().unwrap_or_default()
    }

    /// How wide the page is, and how wide the window.
    async fn widths(&self) -> (u64, u64) {
        let script = json!({ "script": "return [document.documentElement.scrollWidth, window.innerWidth]", "args": [] });
        let widths = self.ask(Method::POST, "/execute/sync", &script).await;
        (widths[0].as_u64().expect("a number"), widths[1].as_u64().expect("a number"))
    }

    /// Shows pages as a device of this width would, in the light or in the dark.
    async fn show(&self, width: u32, scheme: &str) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        for (command, params) in [("Emulation.setDeviceMetricsOverride", metrics), ("Emulation.setEmulatedMedia", media)] {
            self.ask(Method::POST, "/goog/cdp/execute", &json!({ "cmd": command, "params": params })).await;
        }
    }

    async fn picture(&self, file: &Path) {
        let picture = self.ask(Method::GET, "/screenshot", &Value::Null).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture.as_str().expect("text")).expect("base64");
        std::fs::write(file, bytes).expect("written");
    }

    async fn sign_in(&self, house: &House) {
        self.go(&house.url("/")).await;
        self.arrives(&house.url("/sign-in")).await;
        self.write("#token", house.token()).await;
        self.click("button.main").await;
        self.arrives(&house.url("/")).await;
    }

    async fn close(mut self) {
        self.ask(Method::DELETE, "", &Value::Null).await;
        self.driver.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signs_in_opens_a_run_and_stops_it() {
    let Some(browser) = Browser::open().await else { return };
    let house = House::open().await;
    house.world.builds().says = b"hello from the build\n".to_vec();
    house.world.sources().script("slow", "wait");
    let run = house.branch("slow").await;
    house.builds(run).await;
    browser.go(&house.url("/sign-in")).await;
    browser.write("#token", "wrong").await;
    browser.click("button.main").await;
    browser.says("[role=alert]", "not a token").await;
    browser.sign_in(&house).await;
    browser.click(&format!("a[href=\"/view/runs/{run}\"]")).await;
    browser.says("h1", "building").await;
    browser.click("button.danger").await;
    house.ends(run, Outcome::Stopped).await;
    browser.go(&house.url(&format!("/view/runs/{run}"))).await;
    browser.says("h1", "stopped").await;
    browser.click("header form button").await;
    browser.arrives(&house.url("/sign-in")).await;
    let complaints: Vec<Value> = browser.complaints().await.into_iter().filter(|line| !line.to_string().contains("401")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    browser.close().await;
    house.close().await;
}

/// Runs of all kinds, so that there is something to look at.
async fn furnish(house: &House) -> RunId {
    house.world.builds().says =
        b"$ ./configure\nchecking for gcc... gcc\nchecking whether the C compiler works... yes\n$ make\ncc -O2 -o out/hello hello.c\n"
            .to_vec();
    let passed = house.branch("main").await;
    house.ends(passed, Outcome::Passed).await;
    for (branch, script) in [("feature/a-rather-long-name-of-a-branch", "fail"), ("flaky", "unstable"), ("slow", "wait")] {
        house.world.sources().script(branch, script);
        let run = house.branch(branch).await;
        house
            .until("it is under way", run, |view| view.summary.state == RunState::Finished || crate::house::phase(view) == "running")
            .await;
    }
    let why = "The source's server refused the credentials.";
    house
        .world
        .is(At::Vcs, Mood::Failing(Failure::new(FailureCode::SourceDenied, why).hint("Look at what the VCS worker's file says of it.")));
    let failed = house.cd(&json!({ "repo": "team/other", "ref": "refs/changes/45/12345/2" })).await;
    house.ends(failed, Outcome::Failed).await;
    house.world.is(At::Vcs, Mood::Hanging);
    house.branch("main").await;
    passed
}

/// A change that a forge told of, and was told about, and more that it said.
async fn review(house: &House) -> RunId {
    house.forge.remarks("The label Verified is not among those of the project, so there is no vote.");
    for body in [said("1", "uploaded", 12345, 2), said("2", "ref-replication-scheduled", 0, 0), said("3", "bomb", 0, 0)] {
        delivers(house, &body).await;
    }
    let run = acted(house, "uploaded").await.deeds[0].run.expect("a run");
    acted(house, "bomb").await;
    house.until("it is told", run, |view| view.report.as_ref().is_some_and(|report| report.told.is_some())).await;
    run
}

/// Set `SIGNALBOX_PICTURES` to a folder to have pictures of all pages put there.
#[tokio::test(flavor = "multi_thread")]
async fn pages_fit_a_telephone_and_a_desk_in_the_light_and_in_the_dark() {
    let Some(browser) = Browser::open().await else { return };
    let house = House::with(setup()).await;
    let run = furnish(&house).await;
    let reviewed = review(&house).await;
    let delivery = acted(&house, "uploaded").await.id;
    let pictures = std::env::var_os("SIGNALBOX_PICTURES").map(PathBuf::from);
    let pages = [
        ("runs", "/".to_owned()),
        ("run", format!("/view/runs/{run}")),
        ("log", format!("/view/runs/{run}/steps/build/log")),
        ("environments", "/view/environments".to_owned()),
        ("reviewed", format!("/view/runs/{reviewed}")),
        ("deliveries", "/view/deliveries".to_owned()),
        ("delivery", format!("/view/deliveries/{delivery}")),
        ("missing", "/nowhere".to_owned()),
    ];
    browser.show(390, "light").await;
    browser.go(&house.url("/sign-in")).await;
    if let Some(folder) = &pictures {
        browser.picture(&folder.join("sign-in-390-light.png")).await;
    }
    browser.sign_in(&house).await;
    for (width, scheme) in [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")] {
        browser.show(width, scheme).await;
        for (name, path) in &pages {
            browser.go(&house.url(path)).await;
            let (page, window) = browser.widths().await;
            assert!(page <= window, "{name} is {page} wide at {window}");
            if let Some(folder) = &pictures {
                browser.picture(&folder.join(format!("{name}-{width}-{scheme}.png"))).await;
            }
        }
    }
    tokio::time::timeout(Duration::from_secs(10), browser.close()).await.expect("it ends");
    house.world.is(At::Vcs, Mood::Well);
    house.close().await;
}
