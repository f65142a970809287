//! What keeps OpenAI from being asked in vain and from becoming dear.

use gateways::generation::standing::Standing;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_opens_when_openai_fails_and_closes_when_it_is_back() {
    let (studio, parts) = Studio::start().await;
    for n in 1..=5 {
        studio.funded(&format!("600{n}")).await;
    }
    studio.fake.judges([Deed::Fail(503), Deed::Fail(503)]);
    studio.fake.draws([Deed::Unpaid]);
    for _ in 0..3 {
        studio.turn().await;
    }
    let Standing::BreakerOpen { until } = waits(&studio.worker).await else {
        panic!("it is open: {:?}", studio.state().await);
    };
    assert_eq!(studio.spent().await, 0, "failures that cost nothing spend nothing");
    let asked = studio.fake.calls("moderations").len();
    studio.pass((until - studio.now()).num_seconds() + 1);
    assert_eq!(studio.turn().await.generation.stage, "completed", "one is let through");
    assert_eq!(studio.state().await.standing, Standing::Open);
    assert_eq!(studio.turn().await.generation.stage, "completed");
    assert_eq!(studio.fake.calls("moderations").len(), asked + 2);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_stops_spending_until_midnight_and_says_so() {
    let mut poor = options();
    // One picture's limit and a bit: the second is asked for because the first cost less than its limit.
    poor.limits.daily_budget_micros = 250_000 + COST;
    let (studio, parts) = Studio::with(poor, |_| {}).await;
    for n in 1..=3 {
        studio.funded(&format!("600{n}")).await;
    }
    assert_eq!(studio.turn().await.generation.cost_micros, COST);
    studio.fake.draws([Deed::WithoutUsage]);
    let unsaid = studio.turn().await.generation;
    assert_eq!(unsaid.cost_micros, 250_000, "who does not say what it took, took all");
    let Standing::BudgetSpent { until } = waits(&studio.worker).await else {
        panic!("it is spent: {:?}", studio.state().await);
    };
    let state = studio.state().await;
    assert_eq!((state.spent_micros, state.standing.name()), (250_000 + COST, "budget_spent"));
    assert_eq!(studio.fake.drawn(), 2, "nobody was asked");
    studio.pass((until - studio.now()).num_seconds() + 1);
    assert_eq!(studio.turn().await.generation.stage, "completed");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_and_perhaps_paid_for_stays_spent() {
    let (studio, parts) = Studio::start().await;
    for n in 1..=2 {
        studio.funded(&format!("600{n}")).await;
    }
    studio.fake.draws([Deed::Cut, Deed::Give(b"<svg/>".to_vec())]);
    studio.turn().await;
    assert_eq!(studio.spent().await, 250_000, "nobody knows, so it is taken to be dear");
    studio.turn().await;
    assert_eq!(studio.spent().await, 250_000 + COST, "it said what it took");
    parts.stop().await;
}
