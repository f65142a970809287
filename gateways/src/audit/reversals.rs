//! A reversal undoes one earlier entry of the same account, by the opposite of what it moved, once.

use futures::TryStreamExt;
use journal::copy::{self, Tuple};
use serde::Deserialize;
use sqlx::PgConnection;

use super::finding::{Disagreement, Findings};

/// Every reversal with the entry it names. An entry is found by its command, which has the same id.
const REVERSALS: &str = "
    SELECT r.position, r.aggregate_id, r.sequence, r.payload, t.position, t.aggregate_id, t.payload,
           row_number() OVER (PARTITION BY r.aggregate_id, r.reverses ORDER BY r.position)
    FROM (SELECT position, aggregate_id, sequence, payload, payload->'reversed'->>'reverses' AS reverses
          FROM public.events WHERE aggregate_type = 'account' AND event_type = 'reversed') r
    LEFT JOIN public.command_outcomes o
        ON o.command_id = CASE WHEN r.reverses ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                               THEN r.reverses::uuid END
    LEFT JOIN public.events t ON t.position = o.first_position AND t.aggregate_type = 'account'
    ORDER BY r.position";

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reversal {
    Reversed { points: i64 },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Target {
    Credited { points: i64 },
    Captured { points: i64 },
}

/// Checks all reversals; answers how many there are.
pub async fn check(
    connection: &mut PgConnection,
    findings: &mut Findings,
) -> Result<u64, sqlx::Error> {
    let mut count = 0;
    let mut batches = std::pin::pin!(copy::rows::<8>(connection, REVERSALS));
    while let Some(batch) = batches.try_next().await? {
        for row in &batch {
            count += 1;
            see(row, findings)?;
        }
    }
    Ok(count)
}

fn see(row: &Tuple<8>, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let (position, account, sequence) = (row.i64(0)?, row.text(1)?, row.i64(2)?);
    let target_position = row.bytes(4).map(|_| row.i64(4)).transpose()?;
    let judged = judge(
        (position, account, row.text(3)?),
        target_position.zip(row.optional_text(5)?).zip(row.optional_text(6)?),
        row.i64(7)?,
    );
    if let Err((field, expected, found)) = judged {
        let about = format!("event {position} (account {account} #{sequence} reversed)");
        findings.add(|| Disagreement {
            position: Some(position),
            sentence: format!("{about}: {expected} was expected, and it has {found}"),
            about,
            field: field.to_owned(),
            expected,
            found,
        });
    }
    Ok(())
}

/// What is wrong: the field, what was expected and what was found.
type Wrong = (&'static str, String, String);

fn judge(
    (position, account, payload): (i64, &str, &str),
    target: Option<((i64, &str), &str)>,
    repetition: i64,
) -> Result<(), Wrong> {
    let Ok(Reversal::Reversed { points }) = serde_json::from_str(payload) else {
        return Ok(()); // The fold of the account has named it already.
    };
    let wrong = |field, expected: String, found: String| Err((field, expected, found));
    let Some(((at, owner), target)) = target else {
        return wrong("reverses", "an entry of this account".to_owned(), "none".to_owned());
    };
    if owner != account {
        let found = format!("event {at} of account {owner}");
        return wrong("reverses", "an entry of this account".to_owned(), found);
    }
    if at >= position {
        return wrong("reverses", "an earlier entry".to_owned(), format!("event {at}"));
    }
    let expected = match serde_json::from_str(target) {
        Ok(Target::Credited { points }) => points.checked_neg(),
        Ok(Target::Captured { points }) => Some(points),
        Err(_) => None,
    };
    let Some(expected) = expected else {
        return wrong("reverses", "a credit or a capture".to_owned(), format!("event {at}"));
    };
    if points != expected {
        let expected = format!("{expected} points, the opposite of event {at},");
        return wrong("points", expected, format!("{points} points"));
    }
    if repetition != 1 {
        let expected = format!("the only reversal of event {at}");
        return wrong("reverses", expected, format!("number {repetition}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK: &str =
        r#"{"reversed":{"entry":"e","reverses":"r","points":-5,"note":"","actor":""}}"#;
    const CREDIT: &str = r#"{"credited":{"entry":"r","points":5,"rules":1,"facts":{}}}"#;

    #[test]
    fn the_opposite_of_an_earlier_entry_is_right() {
        assert_eq!(judge((9, "5001", BACK), Some(((3, "5001"), CREDIT)), 1), Ok(()));
        let refund = BACK.replace("-5", "5");
        let captured = r#"{"captured":{"entry":"r","hold":"h","points":5}}"#;
        assert_eq!(judge((9, "5001", &refund), Some(((3, "5001"), captured)), 1), Ok(()));
    }

    #[test]
    fn anything_else_is_named() {
        let field = |target, n| judge((9, "5001", BACK), target, n).expect_err("wrong").1;
        assert_eq!(field(None, 1), "an entry of this account");
        assert_eq!(field(Some(((3, "5002"), CREDIT)), 1), "an entry of this account");
        assert_eq!(field(Some(((12, "5001"), CREDIT)), 1), "an earlier entry");
        assert_eq!(field(Some(((3, "5001"), BACK)), 1), "a credit or a capture");
        let more = CREDIT.replace('5', "6");
        assert_eq!(field(Some(((3, "5001"), &more)), 1), "-6 points, the opposite of event 3,");
        assert_eq!(field(Some(((3, "5001"), CREDIT)), 2), "the only reversal of event 3");
    }
}
