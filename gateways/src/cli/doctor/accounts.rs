//! Whether the accounts that Twitch is asked with may do what is wanted of them.

use sqlx::PgPool;

use super::{Finding, note, unreachable, well, wrong};
use crate::config::Config;
use crate::sealing::Sealer;
use crate::twitch::accounts::{Standing, Verdict, store};

const CHECK: &str = "Twitch account";

pub(super) async fn examine(pool: &PgPool, config: &Config) -> sqlx::Result<Vec<Finding>> {
    let all = store::all(pool).await?;
    let is_any_connected = all.iter().any(store::Account::is_connected);
    let standings = all.into_iter().map(|account| Standing::of(account, config));
    let mut findings: Vec<Finding> = standings.filter_map(of).collect();
    let sealer = config.sealing_key_path().map(|path| Sealer::load(&path));
    if is_any_connected && !matches!(sealer, Some(Ok(Some(_)))) {
        let words = "what was granted cannot be opened here: the sealing key is missing";
        let mend =
            "restore sealing.key, name it with sealing_key_file, or `tapedeck connect` again";
        findings.push(wrong(CHECK, words.to_owned(), mend));
    }
    Ok(findings)
}

fn of(standing: Standing) -> Option<Finding> {
    let words = standing.words();
    let mend = standing.mend().unwrap_or_default();
    Some(match standing.verdict {
        Verdict::Unneeded => return None,
        Verdict::Well => well(CHECK, words),
        Verdict::NotConnected => note(CHECK, words, &mend),
        Verdict::Wrong(_) => wrong(CHECK, words, &mend),
        Verdict::Unsure(_) => {
            unreachable(CHECK, words, "it is tried again by itself; see https://status.twitch.com")
        }
    })
}
