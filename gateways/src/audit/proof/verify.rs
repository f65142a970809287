//! Verifying a proof offline: nothing but the file, and whatever else its reader has.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

use journal::head::Head;
use journal::recorded::GENESIS;
use journal::{Hash, Recorded};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::super::finding::{Disagreement, Findings, Proof};
use super::super::import::Lines;
use super::super::report::Report;
use super::super::walk::Walk;
use super::super::{Error, Options};
use super::check::{Checker, compare};
use super::signing::PublicKey;
use super::{Entry, FORMAT, Header, Said, Signature, SignatureLine, SumsLine, signed_bytes};

/// What to verify, and against what.
#[derive(Clone, Debug)]
pub struct Verification {
    pub proof: PathBuf,
    /// The key that must have signed it. Without it, and without a history, nobody knows who did: the report says so.
    pub public_key: Option<PublicKey>,
    /// A whole history as `--export` writes it, which the entries must be those of. It is not checked itself.
    pub history: Option<PathBuf>,
}

/// Reads the proof to its end and checks all that can be known from it.
pub fn verify(verification: &Verification, options: &Options) -> Result<Report, Error> {
    let begun = Instant::now();
    let mut file = Findings::default();
    let read = read(&mut open(&verification.proof)?, &mut file, &options.accounts);
    let read = read.map_err(|source| failed(&verification.proof, source))?;
    let Read { header, mut checker, said, signature, lines } = read;
    let vouched_for = verification.public_key.is_some() || verification.history.is_some();
    let unknown_signer = signature.as_ref().filter(|_| !vouched_for);
    let unknown_signer = unknown_signer.map(|(signature, _)| signature.public_key.clone());
    let mut proofs = Vec::new();
    let mut proof = |check, claim: &str, proved, of, note, findings| {
        let (claim, took) = (claim.to_owned(), begun.elapsed());
        proofs.push(Proof { check, claim, proved, of, note, findings, took });
    };
    let (entries, now) = (checker.said().entries, checker.said());
    proof(
        "proof file",
        "the file is whole, and nothing comes after its end",
        lines,
        "lines",
        None,
        file,
    );
    let (findings, note) = signed_by(signature.as_ref(), verification.public_key);
    proof("signature", "every byte is as it was signed", 1, "signatures", note, findings);
    let links = std::mem::take(&mut checker.links);
    let claim = "every event's content makes its link from the link before it";
    proof("proof links", claim, entries, "entries", None, links);
    let order = std::mem::take(&mut checker.order);
    let claim = "they are all events of one account, numbered 1, 2, 3, in the order of history";
    proof("proof order", claim, entries, "entries", None, order);
    let books = std::mem::take(&mut checker.accounts.findings);
    let claim = "after every entry credits = available + held + captured - reversed, held is the open \
                 holds, and available is not negative";
    proof("proof books", claim, entries, "entries", None, books);
    let mut sums = Findings::default();
    match &said {
        Some(said) => compare(&now, said, &mut sums),
        None => sums.add(|| about("sums", "sums", "nothing", "the proof has no sums".to_owned())),
    }
    let claim = match header.since {
        0 => format!("{} points in the end, from none", now.closing.total()),
        since => format!(
            "{} points in the end, {} after position {since}",
            now.closing.total(),
            now.opening.total()
        ),
    };
    proof("proof sums", &claim, entries, "entries", None, sums);
    if let Some(history) = &verification.history {
        let (findings, note) = in_history(history, &header, &checker.seen)?;
        let claim = "history has these entries of this account up to the position, and no others";
        proof("in history", claim, entries, "entries", Some(note), findings);
    }
    let head = Head { position: header.position, hash: header.hash, epoch: header.epoch };
    let mut report = Report::new(head, header.position, header.at);
    report.proofs = proofs;
    report.unknown_signer = unknown_signer;
    report.took = begun.elapsed();
    let mut walk = Walk { accounts: checker.accounts, ..Walk::default() };
    walk.chain.count = entries;
    report.finish(&mut walk);
    Ok(report)
}

/// What the file has in it.
struct Read {
    header: Header,
    checker: Checker,
    said: Option<Said>,
    /// The signature, and the SHA-256 of what was before it.
    signature: Option<(Signature, Hash)>,
    lines: u64,
}

fn read(
    lines: &mut Lines<impl BufRead>,
    file: &mut Findings,
    shown: &[String],
) -> std::io::Result<Read> {
    let first = lines.next()?.and_then(|line| serde_json::from_slice::<Header>(line).ok());
    let known = first.filter(|header| header.format == FORMAT);
    if known.is_none() {
        let says = format!("line 1 is not the first line of a {FORMAT} file");
        file.add(|| about("line 1", FORMAT, "something else", says));
    }
    let header = known.unwrap_or_else(unknown);
    let mut digest = Sha256::new();
    digest.update(lines.raw());
    let checker = Checker::new(&header, shown);
    let mut read = Read { header, checker, said: None, signature: None, lines: 0 };
    while lines.next()?.is_some() {
        let (number, raw) = (lines.number, lines.raw());
        let line = format!("line {number}");
        if read.signature.is_some() {
            let says = format!("line {number} comes after the signature");
            file.add(|| about(&line, "the end", "more lines", says));
            break;
        }
        let understood = match raw {
            raw if raw.starts_with(b"{\"signature\":") => {
                let digest = digest.clone().finalize().into();
                exactly::<SignatureLine>(raw)
                    .map(|line| read.signature = Some((line.signature, digest)))
            }
            raw if raw.starts_with(b"{\"sums\":") && read.said.is_none() => {
                exactly::<SumsLine>(raw).map(|line| read.said = Some(line.sums))
            }
            raw if read.said.is_none() => serde_json::from_slice::<Entry>(raw)
                .map(|entry| read.checker.see(&entry))
                .map_err(|e| e.to_string()),
            _ => Err("it comes after the sums and is no signature".to_owned()),
        };
        if let Err(error) = understood {
            let says = format!("line {number} cannot be what stands there: {error}");
            file.add(|| about(&line, "an entry", &error, says));
        }
        digest.update(lines.raw());
    }
    if read.signature.is_none() {
        let number = lines.number;
        let says = format!("the file ends after line {number}, without a signature: it was cut");
        file.add(|| about(&format!("line {number}"), "a signature", "nothing", says));
    }
    read.lines = lines.number;
    Ok(read)
}

/// A line that is written as we write it, to the byte.
fn exactly<T: serde::Serialize + serde::de::DeserializeOwned>(raw: &[u8]) -> Result<T, String> {
    let line: T = serde_json::from_slice(raw).map_err(|error| error.to_string())?;
    let written = serde_json::to_vec(&line).map_err(|error| error.to_string())?;
    match raw.strip_suffix(b"\n") {
        Some(raw) if raw == written => Ok(line),
        _ => Err("it is not written as a proof writes it".to_owned()),
    }
}

/// Who signed it, and whether that holds and is whom the reader expects.
fn signed_by(
    signature: Option<&(Signature, Hash)>,
    pinned: Option<PublicKey>,
) -> (Findings, Option<String>) {
    let mut findings = Findings::default();
    let mut wrong = |expected: &str, found: &str, says: String| {
        findings.add(|| about("signature", expected, found, says));
    };
    let Some((Signature { public_key, ed25519 }, digest)) = signature else {
        wrong("a signature", "nothing", "the proof is not signed".to_owned());
        return (findings, None);
    };
    let mut bytes = [0; 64];
    let mut key = public_key.parse::<PublicKey>().ok();
    // One way of writing them each, so that not even the case of a digit can be changed.
    key = key.filter(|key| key.to_string() == *public_key);
    let read = hex::decode_to_slice(ed25519, &mut bytes).is_ok() && hex::encode(bytes) == *ed25519;
    let Some(key) = key.filter(|_| read) else {
        let says = "the last line has no Ed25519 key or no Ed25519 signature".to_owned();
        wrong("a key and a signature", public_key, says);
        return (findings, None);
    };
    if !key.signed(&signed_bytes(digest), &bytes) {
        let says = format!("the bytes before the last line are not those that {key} signed");
        wrong("the signed bytes", "other bytes", says);
    }
    let note = match pinned {
        Some(pinned) if pinned != key => {
            let says = format!("it is signed with {key}, and {pinned} was asked for");
            wrong(&pinned.to_string(), &key.to_string(), says);
            None
        }
        Some(_) => Some(format!("by {key}, as asked for")),
        None => Some(format!(
            "by {key}: ask the channel whether that is its key, and name it with --public-key"
        )),
    };
    (findings, note)
}

/// Whether the exported history has these entries of the account, and no others, up to the position of the proof.
fn in_history(
    path: &Path,
    header: &Header,
    seen: &[(i64, Hash)],
) -> Result<(Findings, String), Error> {
    let mut lines = open(path)?;
    let mut findings = Findings::default();
    let mut expected: HashMap<i64, Hash> = seen.iter().copied().collect();
    let mut ends_at = 0;
    let mut link = GENESIS;
    while let Some(line) = lines.next().map_err(|source| failed(path, source))? {
        // The first and the last line are no events; what else is none is for --import-check to name.
        let Ok(event) = serde_json::from_slice::<Recorded>(line) else { continue };
        ends_at = event.position;
        if event.position > header.position {
            continue;
        }
        link = event.hash;
        let ours = event.aggregate_type == "account" && event.aggregate_id == header.viewer;
        let in_proof = expected.remove(&event.position);
        let says = match in_proof {
            None if ours => "it is an event of the account and not in the proof",
            Some(link) if link != event.hash || !ours => "it is another event than in the proof",
            _ => continue,
        };
        let found = in_proof.map_or("nothing".to_owned(), hex::encode);
        findings.event(&event.content(), "hash", hex::encode(event.hash), found, says);
    }
    let mut missing: Vec<_> = expected.into_keys().collect();
    missing.sort_unstable();
    for position in missing {
        let says = format!("event {position} of the proof is not in the history");
        findings.add(|| about(&format!("event {position}"), "nothing", "an entry", says));
    }
    if ends_at < header.position || link != header.hash {
        let says = format!(
            "at position {} the history has the link {}, the proof {}",
            header.position.min(ends_at),
            hex::encode(link),
            hex::encode(header.hash)
        );
        findings.add(|| about("head", &hex::encode(link), &hex::encode(header.hash), says));
    }
    Ok((findings, format!("the history ends at {ends_at}")))
}

/// Stands for a first line that cannot be read.
fn unknown() -> Header {
    Header {
        format: String::new(),
        viewer: String::new(),
        epoch: Uuid::nil(),
        position: 0,
        hash: GENESIS,
        since: 0,
        at: chrono::DateTime::UNIX_EPOCH,
    }
}

fn about(about: &str, expected: &str, found: &str, sentence: String) -> Disagreement {
    Disagreement {
        position: None,
        about: about.to_owned(),
        field: "proof".to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
        sentence,
    }
}

fn open(path: &Path) -> Result<Lines<BufReader<File>>, Error> {
    let file = File::open(path).map_err(|source| failed(path, source))?;
    Ok(Lines::new(BufReader::with_capacity(1 << 20, file)))
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}
