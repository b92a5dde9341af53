//! The pages that show what forges delivered, what began by it, and what they were told.

use reqwest::{Method, StatusCode};
use serde_json::json;
use signalbox_contract::api::delivery::{DeliveryState, DeliverySummary};
use signalbox_contract::api::run::Outcome;
use signalbox_contract::change::Standing;
use signalbox_contract::grant::Action;

use crate::deliveries::{acted, deliveries, delivers, only, said, setup};
use crate::house::{House, answer, on_repos};
use crate::pages::{page, with_cookie};

async fn page_of(house: &House, token: &str, path: &str) -> String {
    answer(with_cookie(house.bare(Method::GET, path), token), StatusCode::OK).await.text().await.expect("a page")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_which_change_it_is_for_and_what_its_forge_was_told() {
    let house = House::with(setup()).await;
    house.forge.remarks("The label <b>Verified</b> is not there.");
    delivers(&house, &said("1", "uploaded", 7, 2)).await;
    let run = only(&house).await;
    house.ends(run, Outcome::Passed).await;
    house.until("it is told", run, |view| view.report.as_ref().is_some_and(|r| r.told == Some(Standing::Passed))).await;
    let one = page(&house, &format!("/view/runs/{run}")).await;
    let link = "<a href=\"https://review.example.org/c/team/hello/+/7\" rel=\"noreferrer\">7, patch set 2</a>";
    for text in [link, "team/hello", "tidy", "Told to forge", "UTC", "The label &#60;b&#62;Verified&#60;/b&#62; is not there."] {
        assert!(one.contains(text), "{text}: {one}");
    }
    let list = page(&house, "/").await;
    assert!(list.contains("team/hello 7, patch set 2") && !list.contains("refs/changes") && !list.contains("07/7/2"), "{list}");
    assert!(!one.contains("Being told") && !one.contains("Not told"));
    house.forge.is_away(true);
    delivers(&house, &said("2", "recheck", 7, 2)).await;
    let delivery = acted(&house, "recheck").await;
    let again = delivery.deeds[0].run.expect("a run");
    house.ends(again, Outcome::Passed).await;
    let told = page(&house, &format!("/view/runs/{again}")).await;
    assert!(told.contains("nothing yet") && told.contains("Being told"), "{told}");
    delivers(&house, &said("3", "moved", 7, 2)).await;
    let moved = acted(&house, "moved").await.deeds[0].run.expect("a run");
    assert!(page(&house, &format!("/view/runs/{moved}")).await.contains("the branch main moved"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_have_pages_and_are_replayed_by_a_button_for_those_who_may() {
    let house = House::with(setup()).await;
    let evil = "<script>alert(1)</script>";
    delivers(&house, &json!({ "id": "1", "kind": "uploaded", "change": 7, "patch_set": 1, "words": evil })).await;
    delivers(&house, &said("2", evil, 0, 0)).await;
    let run = only(&house).await;
    house.ends(run, Outcome::Passed).await;
    let (mine, strange) = (acted(&house, "uploaded").await, acted(&house, evil).await);
    let path = |delivery: &DeliverySummary| format!("/view/deliveries/{}", delivery.id);
    let list = page(&house, "/view/deliveries").await;
    for text in [path(&mine).as_str(), &path(&strange), "reviewed", "nothing is done about", &format!("/view/runs/{run}")] {
        assert!(list.contains(text), "{text}: {list}");
    }
    assert!(!page(&house, "/view/deliveries?state=done").await.contains(&path(&strange)));
    let newest = page(&house, "/view/deliveries?state=ignored&limit=1&source=forge").await;
    assert!(newest.contains(&path(&strange)) && !newest.contains("rel=\"next\""));
    let first = page(&house, "/view/deliveries?limit=1").await;
    assert!(first.contains(&format!("/view/deliveries?limit=1&#38;cursor={}", strange.id)), "{first}");
    assert!(page(&house, &format!("/view/deliveries?limit=1&cursor={}", strange.id)).await.contains(&path(&mine)));
    let one = page(&house, &path(&mine)).await;
    for text in ["started", &run.to_string(), "x-kept", "&#60;script&#62;", &mine.digest.to_string(), "Replay"] {
        assert!(one.contains(text), "{text}: {one}");
    }
    answer(with_cookie(house.bare(Method::GET, "/view/deliveries/99"), house.token()), StatusCode::NOT_FOUND).await;

    let press = |token: &str, delivery: &DeliverySummary, site: &str| {
        with_cookie(house.bare(Method::POST, &format!("{}/replay", path(delivery))), token).header("sec-fetch-site", site)
    };
    let reader = house.token_of("reader", vec![on_repos(&[Action::Read], &["reviewed"])]);
    let seen = page_of(&house, &reader, "/view/deliveries").await;
    assert!(seen.contains(&path(&mine)) && !seen.contains(&path(&strange)));
    assert!(!seen.contains("href=\"/view/deliveries\">Deliveries"), "the way to all of them is for those who see all");
    assert!(!page_of(&house, &reader, &path(&mine)).await.contains("Replay"));
    answer(with_cookie(house.bare(Method::GET, &path(&strange)), &reader), StatusCode::NOT_FOUND).await;
    answer(press(&reader, &mine, "same-origin"), StatusCode::FORBIDDEN).await;
    answer(press(house.token(), &mine, "cross-site"), StatusCode::FORBIDDEN).await;
    let keeper = house.token_of("keeper", vec![on_repos(&[Action::Deliveries], &[])]);
    assert!(page_of(&house, &keeper, "/").await.contains("href=\"/view/deliveries\">Deliveries"));
    assert!(page_of(&house, &keeper, &path(&strange)).await.contains("Replay"));
    let pressed = answer(press(&keeper, &mine, "same-origin"), StatusCode::SEE_OTHER).await;
    assert_eq!(pressed.headers()["location"], path(&mine).as_str());
    house.sees("it is acted on", async || deliveries(&house).await.iter().all(|one| one.state != DeliveryState::Received)).await;
    assert!(page(&house, &path(&mine)).await.contains("there is"));
    house.close().await;
}
