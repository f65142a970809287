//! What a grant would do, without doing it.

use std::collections::HashMap;

use projections::balances;
use sqlx::PgPool;

use super::sender::{Known, PART, known, line_done};
use super::{Became, Grant, GrantError, Line, LineDone};

/// Shows for every line what it would do.
pub async fn preview(
    pool: &PgPool,
    grant: &Grant,
    lines: &[Line],
    mut done: impl FnMut(LineDone),
) -> Result<i64, GrantError> {
    let mut position = 0;
    for part in lines.chunks(PART) {
        let viewers: Vec<&str> = part.iter().map(|line| line.viewer.as_str()).collect();
        let (at, rows) = balances::of_many(pool, &viewers).await?;
        position = at;
        let balances: HashMap<&str, (i64, i64)> = rows
            .iter()
            .map(|(viewer, sums)| {
                (viewer.as_str(), (sums.available, sums.total().max(sums.credits)))
            })
            .collect();
        for (line, known) in part.iter().zip(known(pool, grant, part).await?) {
            let became = match (known, balances.get(line.viewer.as_str())) {
                (Known::Done(became), _) => became,
                (Known::New(_), None) => {
                    Became::Would { available: 0, after: line.points, unseen: true }
                }
                (Known::New(_), Some((available, highest))) => {
                    match (available.checked_add(line.points), highest.checked_add(line.points)) {
                        (Some(after), Some(_)) => {
                            Became::Would { available: *available, after, unseen: false }
                        }
                        _ => Became::Refused { reason: "the sum would not fit".to_owned() },
                    }
                }
            };
            done(line_done(line, became));
        }
    }
    Ok(position)
}
