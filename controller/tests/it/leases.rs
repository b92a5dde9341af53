//! Who may say what came of an effect: whoever has leased it last, and nobody else.

use std::sync::Arc;
use std::time::Duration;

use signalbox_controller_core::{Event, Lane};
use signalbox_service::clock::ManualClock;

use crate::clock::{accept, after, lease, open, start};
use crate::house::LONG;

#[tokio::test]
async fn what_came_of_an_effect_that_was_withdrawn_while_it_was_performed_is_not_taken_for_what_came_of_the_next_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(start()));
    let (store, shutdown) = open(folder.path(), &clock).await;
    let stopped = accept(&store).await;
    let withdrawn = lease(&store, Lane::Fetch, start()).await;
    assert_eq!(withdrawn.len(), 1);
    // While it is performed its run is stopped, and something else is to be done.
    let stop = Event::StopRequested { by: "tester".to_owned(), reason: None };
    assert!(store.happened(stopped, stop, None).await.expect("it is stopped"));
    let next = accept(&store).await;
    assert_eq!(lease(&store, Lane::Fetch, start()).await.iter().map(|leased| leased.run).collect::<Vec<_>>(), [next]);
    // Only now is it said what came of the first.
    store.done(withdrawn[0].lease).await.expect("it is heard");
    let later = after(start(), Duration::from_mins(2));
    clock.set(later);
    let left = lease(&store, Lane::Fetch, later).await;
    assert_eq!(left.iter().map(|leased| leased.run).collect::<Vec<_>>(), [next], "nobody has said what came of the second");
    assert!(shutdown.drained(LONG).await);
}
