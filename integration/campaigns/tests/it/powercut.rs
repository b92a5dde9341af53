//! What a power cut leaves: of the services as they are, and of some that sync less.

use std::sync::Arc;

use signalbox_campaigns::Progress;
use signalbox_campaigns::powercut::disk::{Kind, Sync};
use signalbox_campaigns::powercut::host::Releases;
use signalbox_campaigns::powercut::mirrors::Mirrored;
use signalbox_campaigns::powercut::recording::Recording;
use signalbox_campaigns::powercut::runs::AcceptedRuns;
use signalbox_campaigns::powercut::store::StoredBlobs;
use signalbox_campaigns::powercut::{Settings, Subject, open_states};
use signalbox_deploy_worker::release::script;
use signalbox_scenarios::has;

/// How many states are opened of a service as it is, and of one that syncs too little at most.
const AS_IT_IS: Settings = Settings { bound: 40, first_only: false };
const NAIVE: Settings = Settings { bound: 120, first_only: true };

/// What is found in the service as it is.
async fn findings<S: Subject>(subject: &Arc<S>, recording: &Recording) -> Vec<String> {
    open_states(subject, recording, AS_IT_IS, &Progress::silent()).await.2
}

/// Has a service that does not sync some of what it should, and finds it out.
async fn found_out<S: Subject>(subject: &Arc<S>, recording: &Recording, naive: &str, left_out: impl Fn(&Kind, &Sync) -> bool) {
    let planted = recording.clone().syncing_less(left_out);
    found_in(subject, &planted, naive).await;
}

async fn found_in<S: Subject>(subject: &Arc<S>, planted: &Recording, naive: &str) {
    let (there, opened, findings) = open_states(subject, planted, NAIVE, &Progress::silent()).await;
    assert!(!findings.is_empty(), "{naive}: nothing was found in {opened} of {there} states");
    println!("{naive}: found in one of {opened} states: {}", findings[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_were_put_survive_a_power_cut_and_a_store_that_syncs_less_is_found_out() {
    if !has(&["strace"]) {
        return;
    }
    let (subject, recording) = StoredBlobs::record().await.expect("a recording");
    let subject = Arc::new(subject);
    assert_eq!(findings(&subject, &recording).await, Vec::<String>::new());
    let is_log = |sync: &Sync| sync.told.ends_with("-wal");
    let is_database = |sync: &Sync| sync.told.contains(".db");
    found_out(&subject, &recording, "a log of the database that is not synced", |_, sync| is_log(sync)).await;
    found_out(&subject, &recording, "a file that is not synced before it gets its name", |kind, sync| {
        *kind == Kind::File && !is_database(sync)
    })
    .await;
    found_out(&subject, &recording, "folders that are not synced", |kind, _| *kind == Kind::Folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_were_accepted_survive_a_power_cut_and_a_controller_that_syncs_less_is_found_out() {
    if !has(&["strace"]) {
        return;
    }
    let (subject, recording) = AcceptedRuns::record().await.expect("a recording");
    let subject = Arc::new(subject);
    assert_eq!(findings(&subject, &recording).await, Vec::<String>::new());
    found_out(&subject, &recording, "a log of the database that is not synced", |_, sync| sync.told.ends_with("-wal")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_were_mirrored_survive_a_power_cut_and_a_worker_that_syncs_less_is_found_out() {
    if !has(&["strace"]) {
        return;
    }
    let (subject, recording) = Mirrored::record().await.expect("a recording");
    let subject = Arc::new(subject);
    assert_eq!(findings(&subject, &recording).await, Vec::<String>::new());
    found_out(&subject, &recording, "folders that are not synced", |kind, _| *kind == Kind::Folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_survive_a_power_cut_and_scripts_that_take_less_care_are_found_out() {
    if !has(&["strace"]) {
        return;
    }
    let (subject, recording) = Releases::record(script()).await.expect("a recording");
    let subject = Arc::new(subject);
    assert_eq!(findings(&subject, &recording).await, Vec::<String>::new());
    found_out(&subject, &recording, "files that are not synced", |kind, _| *kind == Kind::File).await;
    found_out(&subject, &recording, "folders that are not synced", |kind, _| *kind == Kind::Folder).await;
    // What a script does that removes the old link before it makes the new one, as `ln -sfn` does on many systems.
    let switch = "mv -fT -- \"../.signalbox-$name\" \"../$name\"";
    let naive = "rm -f -- \"../$name\" && mv -fT -- \"../.signalbox-$name\" \"../$name\"";
    assert!(script().contains(switch), "the script switches by this");
    let (subject, recording) = Releases::record(&script().replace(switch, naive)).await.expect("a recording");
    found_in(&Arc::new(subject), &recording, "a link that is removed before there is another").await;
}
