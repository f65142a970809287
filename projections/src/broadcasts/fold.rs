//! How the events of a broadcaster change the tables of `broadcasts`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use domain::broadcast::Event;
use journal::Recorded;

pub(super) const TABLES: [&str; 5] = [
    "CREATE TABLE broadcasts (
         broadcaster      text        NOT NULL,
         number           bigint      NOT NULL,
         live_id          text        NOT NULL,
         title            text        NOT NULL,
         category         text        NOT NULL,
         language         text        NOT NULL,
         started_position bigint      NOT NULL,
         started_at       timestamptz NOT NULL,
         ended_position   bigint,
         ended_at         timestamptz,
         PRIMARY KEY (broadcaster, number)
     )",
    "CREATE TABLE broadcast_intervals (
         broadcaster      text        NOT NULL,
         number           bigint      NOT NULL,
         live_id          text        NOT NULL,
         started_position bigint      NOT NULL,
         started_at       timestamptz NOT NULL,
         ended_position   bigint,
         ended_at         timestamptz,
         PRIMARY KEY (broadcaster, number, started_position)
     )",
    "CREATE TABLE screenings (
         broadcaster      text        NOT NULL,
         number           bigint      NOT NULL,
         id               uuid        NOT NULL,
         tape             text        NOT NULL,
         started_position bigint      NOT NULL,
         started_at       timestamptz NOT NULL,
         ended_position   bigint,
         ended_at         timestamptz,
         PRIMARY KEY (broadcaster, number, id)
     )",
    "CREATE INDEX screenings_by_tape ON screenings (tape)",
    "CREATE TABLE broadcasters (
         broadcaster text PRIMARY KEY,
         title       text NOT NULL,
         category    text NOT NULL,
         language    text NOT NULL
     )",
];

/// Whether an event of this type changes anything here; the moments between, which are most, do not.
pub(super) fn moves(event_type: &str) -> bool {
    matches!(
        event_type,
        "started" | "resumed" | "ended" | "retitled" | "screening_started" | "screening_ended"
    )
}

pub(super) async fn apply(
    connection: &mut PgConnection,
    recorded: &Recorded,
    event: Event,
) -> sqlx::Result<()> {
    let (broadcaster, position) = (recorded.aggregate_id.as_str(), recorded.position);
    match event {
        Event::Started { broadcast, live_id, at } => {
            let place = Place { broadcaster, number: broadcast, position, at };
            start(connection, place, &live_id).await
        }
        Event::Resumed { broadcast, live_id, at } => {
            let place = Place { broadcaster, number: broadcast, position, at };
            resume(connection, place, &live_id).await
        }
        Event::Ended { broadcast, at, .. } => {
            end(connection, Place { broadcaster, number: broadcast, position, at }).await
        }
        Event::Retitled { title, category, language, .. } => {
            retitle(connection, broadcaster, [&title, &category, &language]).await
        }
        Event::ScreeningStarted { broadcast, screening, .. } => {
            let at = screening.started_at;
            let place = Place { broadcaster, number: broadcast, position, at };
            start_screening(connection, place, screening.id, &screening.tape).await
        }
        Event::ScreeningEnded { broadcast, screening, at } => {
            let place = Place { broadcaster, number: broadcast, position, at };
            end_screenings(connection, place, Some(screening.id)).await
        }
        _ => Ok(()),
    }
}

/// Where and when something happened.
#[derive(Clone, Copy)]
struct Place<'a> {
    broadcaster: &'a str,
    number: i64,
    position: i64,
    at: DateTime<Utc>,
}

async fn start(connection: &mut PgConnection, place: Place<'_>, live_id: &str) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO broadcasts (broadcaster, number, live_id, title, category, language,
                                 started_position, started_at)
         SELECT $1, $2, $3, coalesce(b.title, ''), coalesce(b.category, ''),
                coalesce(b.language, ''), $4, $5
         FROM (SELECT) AS one LEFT JOIN broadcasters b ON b.broadcaster = $1",
    )
    .bind(place.broadcaster)
    .bind(place.number)
    .bind(live_id)
    .bind(place.position)
    .bind(place.at)
    .execute(&mut *connection)
    .await?;
    begin_interval(connection, place, live_id).await
}

async fn resume(
    connection: &mut PgConnection,
    place: Place<'_>,
    live_id: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE broadcasts AS b
         SET live_id = $3, ended_position = NULL, ended_at = NULL,
             title = coalesce(p.title, b.title), category = coalesce(p.category, b.category),
             language = coalesce(p.language, b.language)
         FROM (SELECT) AS one LEFT JOIN broadcasters p ON p.broadcaster = $1
         WHERE b.broadcaster = $1 AND b.number = $2",
    )
    .bind(place.broadcaster)
    .bind(place.number)
    .bind(live_id)
    .execute(&mut *connection)
    .await?;
    begin_interval(connection, place, live_id).await
}

async fn begin_interval(
    connection: &mut PgConnection,
    place: Place<'_>,
    live_id: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO broadcast_intervals (broadcaster, number, live_id, started_position,
                                          started_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(place.broadcaster)
    .bind(place.number)
    .bind(live_id)
    .bind(place.position)
    .bind(place.at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the broadcast, and with it whatever was on screen.
async fn end(connection: &mut PgConnection, place: Place<'_>) -> sqlx::Result<()> {
    for statement in [
        "UPDATE broadcasts SET ended_position = $3, ended_at = $4
         WHERE broadcaster = $1 AND number = $2 AND ended_position IS NULL",
        "UPDATE broadcast_intervals SET ended_position = $3, ended_at = $4
         WHERE broadcaster = $1 AND number = $2 AND ended_position IS NULL",
    ] {
        sqlx::query(statement)
            .bind(place.broadcaster)
            .bind(place.number)
            .bind(place.position)
            .bind(place.at)
            .execute(&mut *connection)
            .await?;
    }
    end_screenings(connection, place, None).await
}

/// Title, category and language of the page, and of the broadcast that is on.
async fn retitle(
    connection: &mut PgConnection,
    broadcaster: &str,
    words: [&str; 3],
) -> sqlx::Result<()> {
    for statement in [
        "INSERT INTO broadcasters (broadcaster, title, category, language) VALUES ($1, $2, $3, $4)
         ON CONFLICT (broadcaster) DO UPDATE SET title = excluded.title,
             category = excluded.category, language = excluded.language",
        "UPDATE broadcasts SET title = $2, category = $3, language = $4
         WHERE broadcaster = $1 AND ended_position IS NULL",
    ] {
        let mut query = sqlx::query(statement).bind(broadcaster);
        for word in words {
            query = query.bind(word);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn start_screening(
    connection: &mut PgConnection,
    place: Place<'_>,
    id: Uuid,
    tape: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO screenings (broadcaster, number, id, tape, started_position, started_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(place.broadcaster)
    .bind(place.number)
    .bind(id)
    .bind(tape)
    .bind(place.position)
    .bind(place.at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends one screening, or all that are on.
async fn end_screenings(
    connection: &mut PgConnection,
    place: Place<'_>,
    id: Option<Uuid>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE screenings SET ended_position = $3, ended_at = $4
         WHERE broadcaster = $1 AND number = $2 AND ended_position IS NULL
           AND ($5::uuid IS NULL OR id = $5)",
    )
    .bind(place.broadcaster)
    .bind(place.number)
    .bind(place.position)
    .bind(place.at)
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
}
