//! Verifying an exported file offline: no database, no broker, nothing but the file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Instant;

use journal::Recorded;
use journal::head::Head;

use super::accounts::Accounts;
use super::export::{FORMAT, Header, Last, Trailer};
use super::finding::{Disagreement, Findings, Proof};
use super::progress::Progress;
use super::report::Report;
use super::walk::Walk;
use super::{Error, Options, history_proofs};

/// No line is longer: a payload may have 4 MB.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Reads the file to its end and checks all that can be known from it.
pub fn check(path: &Path, options: &Options, progress: &Progress) -> Result<Report, Error> {
    let begun = Instant::now();
    let failed = |source| Error::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut lines = Lines::new(BufReader::with_capacity(1 << 20, file));
    let mut findings = Findings::default();
    let header = lines.next().map_err(failed)?.and_then(|line| {
        let header = serde_json::from_slice::<Header>(line).ok()?;
        (header.format == FORMAT).then_some(header)
    });
    let Some(header) = header else {
        let words = format!("line 1 is not the header of a {FORMAT} file");
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidData, words)));
    };
    progress.begin("reading the file", header.head);
    let mut walk = Walk { accounts: Accounts::new(&options.accounts, i64::MAX), ..Walk::default() };
    // The trailer speaks for all accounts, also when only some are asked for.
    let mut all = Accounts::new(&[], i64::MAX);
    let trailer = read(&mut lines, &mut findings, |event| {
        walk.see_event(event);
        if !options.accounts.is_empty() {
            all.see(&event.content());
        }
        progress.add(1);
    })
    .map_err(failed)?;
    let head = Head { position: header.head, hash: header.hash, epoch: header.epoch };
    walk.finish(&head);
    if let Some(trailer) = trailer {
        let accounts = if options.accounts.is_empty() { &walk.accounts } else { &all };
        compare_trailer(
            &Trailer::of(walk.chain.count, accounts),
            &trailer,
            lines.number,
            &mut findings,
        );
    }
    progress.end();
    let mut report = Report::new(head, header.head, header.at);
    report.took = begun.elapsed();
    report.proofs = history_proofs(&mut walk, report.took);
    report.proofs.push(Proof {
        check: "file",
        claim: "the file is whole, and its trailer agrees with its events".to_owned(),
        proved: lines.number,
        of: "lines",
        note: None,
        findings,
        took: report.took,
    });
    report.finish(&mut walk);
    Ok(report)
}

/// Shows every event to `see` and answers the trailer, if the file has one at its end.
fn read(
    lines: &mut Lines<impl BufRead>,
    findings: &mut Findings,
    mut see: impl FnMut(&Recorded),
) -> std::io::Result<Option<Trailer>> {
    let mut last_event = 0;
    loop {
        let Some(line) = lines.next()? else {
            let number = lines.number;
            let found = format!("nothing after line {number}");
            let says = format!("the file ends after line {number}, without a trailer: it was cut");
            findings.add(|| at_line(number, Some(last_event), "a trailer", found, says));
            return Ok(None);
        };
        if line.starts_with(b"{\"trailer\":")
            && let Ok(last) = serde_json::from_slice::<Last>(line)
        {
            if lines.next()?.is_some() {
                let number = lines.number;
                let says = format!("line {number} comes after the trailer");
                findings.add(|| at_line(number, None, "the end", "more lines".to_owned(), says));
            }
            return Ok(Some(last.trailer));
        }
        match serde_json::from_slice::<Recorded>(line) {
            Ok(event) => {
                last_event = event.position;
                see(&event);
            }
            Err(error) => {
                let number = lines.number;
                let says = format!("line {number} is no event and no trailer: {error}");
                let position = Some(last_event + 1);
                findings.add(|| at_line(number, position, "an event", error.to_string(), says));
            }
        }
    }
}

fn compare_trailer(expected: &Trailer, found: &Trailer, line: u64, findings: &mut Findings) {
    let numbers = |trailer: &Trailer| {
        let totals = &trailer.totals;
        [
            ("events", trailer.events.to_string()),
            ("accounts", totals.accounts.to_string()),
            ("credits", totals.credits.to_string()),
            ("available", totals.available.to_string()),
            ("held", totals.held.to_string()),
            ("captured", totals.captured.to_string()),
            ("reversed", totals.reversed.to_string()),
            ("balances", hex::encode(trailer.balances)),
        ]
    };
    for ((field, should), (_, is)) in numbers(expected).into_iter().zip(numbers(found)) {
        if should != is {
            let says = format!("trailer: {field} is {is}, its events say {should}");
            findings.add(|| at_line(line, None, &should, is, says));
        }
    }
}

fn at_line(
    line: u64,
    position: Option<i64>,
    expected: &str,
    found: String,
    sentence: String,
) -> Disagreement {
    Disagreement {
        position,
        about: format!("line {line}"),
        field: "line".to_owned(),
        expected: expected.to_owned(),
        found,
        sentence,
    }
}

/// Lines of bounded length; one without its line break counts, and fails to be read if it was cut.
pub(super) struct Lines<R> {
    reader: R,
    pub(super) number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Lines { reader, number: 0, line: Vec::new() }
    }

    /// The last line as it stands in the file, with its line break.
    pub(super) fn raw(&self) -> &[u8] {
        &self.line
    }

    pub(super) fn next(&mut self) -> std::io::Result<Option<&[u8]>> {
        self.line.clear();
        let read = (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(self.line.trim_ascii_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Lines<&[u8]> {
        Lines { reader: text.as_bytes(), number: 1, line: Vec::new() }
    }

    #[test]
    fn a_file_without_its_end_names_the_line_where_it_was_cut() {
        let mut findings = Findings::default();
        let trailer = read(&mut lines("{\"position\":1,\"aggre"), &mut findings, |_| {});
        assert!(trailer.expect("readable").is_none());
        assert!(findings.first[0].sentence.starts_with("line 2 is no event and no trailer"));
        assert_eq!(
            findings.first[1].sentence,
            "the file ends after line 2, without a trailer: it was cut"
        );
    }

    #[test]
    fn nothing_may_follow_the_trailer() {
        let trailer = Last { trailer: Trailer::of(0, &Accounts::default()) };
        let text = format!("{}\n{{}}\n", serde_json::to_string(&trailer).expect("JSON"));
        let mut findings = Findings::default();
        let read = read(&mut lines(&text), &mut findings, |_| {}).expect("readable");
        assert_eq!(read, Some(trailer.trailer));
        assert_eq!(findings.first[0].sentence, "line 3 comes after the trailer");
    }

    #[test]
    fn a_changed_trailer_is_named_by_its_field() {
        let expected = Trailer::of(5, &Accounts::default());
        let mut found = expected.clone();
        found.totals.available = 4;
        let mut findings = Findings::default();
        compare_trailer(&expected, &found, 7, &mut findings);
        assert_eq!(findings.first[0].sentence, "trailer: available is 4, its events say 0");
    }
}
