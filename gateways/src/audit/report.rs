//! What an audit found, for a person and for a program.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use chrono::{DateTime, Utc};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use journal::Hash;
use journal::head::Head;
use serde::Serialize;
use uuid::Uuid;

use super::accounts::{Line, Totals};
use super::finding::Proof;
use super::gaps::Seen;
use super::walk::Walk;

/// Everything an audit proved and everything it did not.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Nothing disagreed.
    pub agrees: bool,
    /// The key that signed a proof, where nothing says whose key it is: anybody can make a file like that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_signer: Option<String>,
    pub epoch: Uuid,
    /// The last position that was proved, and its link.
    pub position: i64,
    #[serde(with = "hex::serde")]
    pub hash: Hash,
    /// Where the journal ended when the snapshot was taken.
    pub head: i64,
    /// When the snapshot was taken.
    pub at: DateTime<Utc>,
    pub events: u64,
    pub totals: Totals,
    pub proofs: Vec<Proof>,
    /// What did not reach us, as history says.
    pub gaps: Seen,
    /// The entries of the accounts that were asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub accounts: BTreeMap<Box<str>, Vec<Line>>,
    #[serde(rename = "took_ms", serialize_with = "as_millis")]
    pub took: Duration,
    /// Commands, statements and EVENTS were counted and added up instead of compared, and other projections not read.
    pub counted: bool,
    /// The most memory that this process ever had.
    pub resident_max_bytes: Option<u64>,
}

impl Report {
    pub fn new(head: Head, position: i64, at: DateTime<Utc>) -> Self {
        Report {
            agrees: false,
            unknown_signer: None,
            epoch: head.epoch,
            position,
            hash: head.hash,
            head: head.position,
            at,
            events: 0,
            totals: Totals::default(),
            proofs: Vec::new(),
            gaps: Seen::default(),
            accounts: BTreeMap::new(),
            took: Duration::ZERO,
            counted: false,
            resident_max_bytes: None,
        }
    }

    /// Takes the sums from the pass over history, and decides.
    pub fn finish(&mut self, walk: &mut Walk) {
        self.events = walk.chain.count;
        self.totals = walk.accounts.totals();
        self.accounts = walk.accounts.take_lines();
        self.agrees = self.proofs.iter().all(|proof| proof.findings.is_empty());
        self.resident_max_bytes = resident_max_bytes();
    }

    /// All of it as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (account, lines) in &self.accounts {
            let _ =
                writeln!(text, "Account {account}: {} entries\n{}\n", lines.len(), entries(lines));
        }
        let _ = writeln!(text, "{}\n", self.checks());
        self.write_disagreements(&mut text);
        let _ = write!(text, "{}{}", self.summary(), self.gaps.text());
        text
    }

    fn checks(&self) -> Table {
        let mut table = table(["", "check", "what", "for", "took"]);
        for proof in &self.proofs {
            let mark = if proof.findings.is_empty() { "✓" } else { "✗" };
            let claim = match &proof.note {
                Some(note) => format!("{}; {note}", proof.claim),
                None => proof.claim.clone(),
            };
            let proved = match proof.findings.total {
                0 => format!("{} {}", grouped(proof.proved), proof.of),
                1 => "1 disagreement".to_owned(),
                total => format!("{} disagreements", grouped(total)),
            };
            table.add_row(vec![
                Cell::new(mark),
                Cell::new(proof.check),
                Cell::new(claim),
                Cell::new(proved).set_alignment(CellAlignment::Right),
                Cell::new(seconds(proof.took)).set_alignment(CellAlignment::Right),
            ]);
        }
        table
    }

    fn write_disagreements(&self, text: &mut String) {
        for proof in self.proofs.iter().filter(|proof| !proof.findings.is_empty()) {
            let _ = writeln!(text, "{}:", proof.check);
            for found in &proof.findings.first {
                let _ = writeln!(text, "  {}", found.sentence);
            }
            let more = proof.findings.total - proof.findings.first.len() as u64;
            if more > 0 {
                let _ = writeln!(text, "  and {} more", grouped(more));
            }
            let _ = writeln!(text);
        }
    }

    fn summary(&self) -> String {
        let totals = &self.totals;
        let mut text = format!(
            "{} {}: {} credited = {} available + {} held + {} captured - ({}) reversed\n",
            grouped(totals.accounts),
            if totals.accounts == 1 { "account" } else { "accounts" },
            grouped(totals.credits),
            grouped(totals.available),
            grouped(totals.held),
            grouped(totals.captured),
            grouped(totals.reversed),
        );
        let _ = writeln!(
            text,
            "position {} of {}, epoch {}\nhash {}",
            grouped(self.position),
            grouped(self.head),
            self.epoch,
            hex::encode(self.hash)
        );
        if self.counted {
            let _ = writeln!(
                text,
                "Commands, statements and EVENTS were counted and added up; --everything compares them row for row, and all \
                 other projections."
            );
        }
        let per_second = self.events as f64 / self.took.as_secs_f64().max(0.000_001);
        let took = format!("{}, {} events/s", seconds(self.took), grouped(per_second as u64));
        let memory = self.resident_max_bytes.map_or(String::new(), |bytes| {
            format!(", with at most {} MiB of memory", bytes.div_ceil(1 << 20))
        });
        let disagreements: u64 = self.proofs.iter().map(|proof| proof.findings.total).sum();
        let _ = match (disagreements, &self.unknown_signer) {
            (0, None) => writeln!(text, "Proved in {took}{memory}."),
            (0, Some(key)) => writeln!(
                text,
                "SIGNED BY AN UNKNOWN KEY, {key}: anybody can sign a file whose sums agree. Name the channel's \
                 key with --public-key.\nNothing else is wrong, in {took}{memory}."
            ),
            (1, _) => writeln!(text, "NOT PROVED: 1 disagreement, in {took}{memory}."),
            (n, _) => {
                writeln!(text, "NOT PROVED: {} disagreements, in {took}{memory}.", grouped(n))
            }
        };
        text
    }
}

fn entries(lines: &[Line]) -> Table {
    let mut table = table([
        "position",
        "#",
        "entry",
        "at",
        "available",
        "held",
        "captured",
        "reversed",
        "total",
    ]);
    for line in lines {
        let at = DateTime::from_timestamp_micros(line.recorded_at).unwrap_or_default();
        let numbers = [
            line.after.available,
            line.after.held,
            line.after.captured,
            line.after.reversed,
            line.after.available + line.after.held,
        ];
        let mut row = vec![
            Cell::new(line.position).set_alignment(CellAlignment::Right),
            Cell::new(line.sequence).set_alignment(CellAlignment::Right),
            Cell::new(&line.kind),
            Cell::new(at.format("%Y-%m-%d %H:%M:%S")),
        ];
        let numbers = numbers.into_iter();
        row.extend(numbers.map(|n| Cell::new(grouped(n)).set_alignment(CellAlignment::Right)));
        table.add_row(row);
    }
    table
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// `1,234,567`.
pub fn grouped(number: impl ToString) -> String {
    let text = number.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    let mut grouped = sign.to_owned();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}

/// As Linux counts it; `None` elsewhere.
fn resident_max_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn as_millis<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(-1_234_567), "-1,234,567");
        assert_eq!(grouped(i128::from(i64::MAX)), "9,223,372,036,854,775,807");
    }
}
