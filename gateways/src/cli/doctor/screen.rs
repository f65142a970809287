//! Whether an overlay is there to show what plays.

use sqlx::PgPool;

use super::{Finding, note, well};
use crate::config::Config;
use crate::stage::presence::{self, Present};

const CHECK: &str = "overlay";

pub(super) async fn examine(pool: &PgPool, config: &Config) -> sqlx::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for stage in &config.stage.names {
        findings.push(said(stage, &presence::of(pool, stage).await?));
    }
    Ok(findings)
}

fn said(stage: &str, all: &[Present]) -> Finding {
    let here: Vec<&Present> = all.iter().filter(|present| present.here).collect();
    let reports = here.iter().filter(|present| present.layer != "screen").count();
    if reports > 0 {
        return well(CHECK, format!("{} connected to the stage {stage}", here.len()));
    }
    let words = match here.len() {
        0 => format!("none is connected to the stage {stage}: alerts wait until one is"),
        _ => format!("only a layer is connected to the stage {stage}, and nothing starts for it"),
    };
    let mend = "tapedeck key issue --name obs --scope stage:overlay, and in OBS a browser source /overlay#key=<key>";
    note(CHECK, words, mend)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn present(layer: &str, here: bool) -> Present {
        Present {
            connection: uuid::Uuid::nil(),
            overlay: uuid::Uuid::nil(),
            layer: layer.to_owned(),
            kinds: Vec::new(),
            since: chrono::DateTime::UNIX_EPOCH,
            age_ms: 0,
            here,
            sent_alert: None,
            sent_attempt: None,
            painted_alert: None,
            painted_at: None,
        }
    }

    #[test]
    fn an_overlay_is_there_while_it_is_connected_and_can_show_something_by_itself() {
        let of = |all: &[Present]| said("main", all);
        assert_eq!(of(&[present("all", true)]).state, State::Well);
        let gone = of(&[present("all", false)]);
        assert!(gone.state == State::Note && gone.words.contains("none is connected"));
        assert!(of(&[present("screen", true)]).words.contains("only a layer"));
        assert!(of(&[present("screen", true), present("normal", true)]).words.starts_with('2'));
    }
}
