//! What mirroring costs above the bare commands. Ratios are measured by the benchmarks; here only the number of things that
//! are done is held, which does not depend on the machine.

use serde_json::json;

use crate::house::House;

#[tokio::test]
async fn a_new_commit_costs_one_conversation_and_nothing_new_costs_one_question() {
    let house = House::open().await;
    house.mirror(&house.order("main")).await;
    let second = house.source.commit("refs/heads/main", &[("x", "y")]).await;
    house.server.forget();
    let mut order = house.order("refs/heads/main");
    order["sha"] = json!(second);
    house.mirror(&order).await;
    // The advertisement, the list of refs, the objects: what one bare `git fetch` asks.
    assert_eq!(house.server.seen().len(), 3);
    house.server.forget();
    house.mirror(&order).await;
    // The advertisement and the list of refs: what one bare `git ls-remote` asks.
    assert_eq!(house.server.seen().len(), 2);
}
