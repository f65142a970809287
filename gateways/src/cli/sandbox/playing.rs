//! Playing with a sandbox that runs.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, Method, RequestBuilder, StatusCode};

use crate::cli::{EXIT_FAILED, print};
use crate::config::NotReachable;
use crate::sandbox::Played;
use crate::sandbox::act::Act;
use crate::sandbox::control::{Control, Standing};

/// What is posted is posted again for a while where nobody takes it.
const LIMIT: Duration = Duration::from_secs(30);

/// How much of what was said is shown.
const SHOWN: usize = 10;

/// Has something happen, and says what. Fails where nobody was told.
pub async fn play(folder: &Path, act: &Act) -> anyhow::Result<ExitCode> {
    let answer = send(folder, |client, control| {
        client.request(Method::POST, format!("{}/play", control.url)).json(act)
    });
    let answer = answer.await?;
    if !answer.status().is_success() {
        bail!(answer.text().await?);
    }
    let played: Played = answer.json().await.context("the sandbox is of another version")?;
    print::text(&played.words)?;
    if played.told == Some(0) {
        print::text(
            "Nobody was told: Tapedeck does not listen for it just now. `tapedeck gaps` and `tapedeck eventsub list` say more.",
        )?;
        return Ok(ExitCode::from(EXIT_FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn status(folder: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let answer = send(folder, |client, control| {
        client.request(Method::GET, format!("{}/standing", control.url))
    });
    let standing = answer.await?.error_for_status()?.json().await;
    let standing: Standing = standing.context("the sandbox is of another version")?;
    if as_json {
        print::json(&standing)?;
        return Ok(ExitCode::SUCCESS);
    }
    let live = standing.live.as_ref().map_or("off".to_owned(), |id| format!("live, {id}"));
    let mut lines = vec![
        format!("channel           {live}"),
        format!(
            "connections       {} of EventSub ({} ever), {} in chat over IRC",
            standing.sessions, standing.connections, standing.irc_joined
        ),
        format!("subscriptions     {} enabled", standing.subscriptions_enabled),
        format!("refreshed grants  {}", standing.refreshed),
        format!("pictures asked    {}", standing.pictures_asked),
    ];
    let said = standing.said.iter().rev().take(SHOWN).rev();
    lines.extend(said.map(|(by, text)| format!("{by} said  {}", print::harmless(text))));
    let posted = standing.posted.iter().rev().take(SHOWN).rev();
    lines.extend(posted.map(|text| format!("Discord: {}", print::harmless(text))));
    print::text(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn send(
    folder: &Path,
    ask: impl FnOnce(&Client, &Control) -> RequestBuilder,
) -> anyhow::Result<reqwest::Response> {
    let nobody = || {
        let words = "no sandbox runs there: start `tapedeck sandbox` in another terminal";
        NotReachable(format!("{}: {words}", folder.display()))
    };
    let control = Control::read(folder).with_context(|| format!("{}", folder.display()))?;
    let control = control.ok_or_else(nobody)?;
    let client = Client::builder().no_proxy().timeout(LIMIT).build()?;
    match ask(&client, &control).bearer_auth(&control.token).send().await {
        // Somebody else answers at the address of one that did not end in good order.
        Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => Err(nobody().into()),
        Ok(answer) => Ok(answer),
        Err(error) if error.is_connect() => Err(nobody().into()),
        Err(error) => Err(error.into()),
    }
}
