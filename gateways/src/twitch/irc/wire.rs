//! Bytes into lines. Whoever sends a line without an end fills no memory.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The longest line that is read. Twitch sends a few kilobytes: 8 KiB of tags, and what was said.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// The lines that come over a connection.
pub struct Lines<R> {
    reader: BufReader<R>,
    /// What came of the line that has not ended.
    begun: Vec<u8>,
    /// It is too long, and what follows of it is dropped.
    skipping: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// A line without its end; what is no UTF-8 in it is replaced.
    Line(String),
    TooLong,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(reader: R) -> Self {
        Lines { reader: BufReader::new(reader), begun: Vec::new(), skipping: false }
    }

    /// The next line, or `None` at the end. Nothing is lost where nobody waits for it any more.
    pub async fn next(&mut self) -> io::Result<Option<Read>> {
        loop {
            let bytes = self.reader.fill_buf().await?;
            if bytes.is_empty() {
                // A line that has no end was not said to its end.
                return Ok(None);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            if self.begun.len() + piece.len() > LINE_BYTES_MAX {
                self.skipping = true;
            }
            match self.skipping {
                true => self.begun.clear(),
                false => self.begun.extend_from_slice(piece),
            }
            let read = end.map_or(bytes.len(), |end| end + 1);
            self.reader.consume(read);
            if end.is_none() {
                continue;
            }
            if std::mem::take(&mut self.skipping) {
                return Ok(Some(Read::TooLong));
            }
            let line = std::mem::take(&mut self.begun);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if !line.is_empty() {
                return Ok(Some(Read::Line(String::from_utf8_lossy(line).into_owned())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8], at_once: usize) -> Vec<Read> {
        let pieces = bytes.chunks(at_once).map(|piece| io::Result::Ok(piece.to_vec()));
        let mut builder = tokio::io::duplex(at_once);
        let pieces: Vec<Vec<u8>> = pieces.collect::<Result<_, _>>().expect("pieces");
        tokio::spawn(async move {
            for piece in pieces {
                let sent = tokio::io::AsyncWriteExt::write_all(&mut builder.0, &piece).await;
                sent.expect("somebody reads");
            }
        });
        let mut lines = Lines::new(builder.1);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.expect("no failure") {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_are_the_same_in_whatever_pieces_they_come() {
        let line = |text: &str| Read::Line(text.to_owned());
        let expected = [line("PING :a"), line("b"), line("c \u{fffd}"), line("\r")];
        for at_once in [1, 2, 7, 4_096] {
            let read = read(b"PING :a\r\n\r\n\nb\nc \xff\r\n\r\r\nno end", at_once).await;
            assert_eq!(read, expected, "{at_once}");
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_fills_no_memory_and_the_next_is_read() {
        let huge = vec![b'x'; 40 * LINE_BYTES_MAX];
        let longest = vec![b'y'; LINE_BYTES_MAX];
        let bytes = [&huge[..], b"\nnext\r\n", &longest, b"\n", &longest, b"z\n"].concat();
        let read = read(&bytes, 1_000).await;
        assert_eq!(read.len(), 4);
        assert_eq!((&read[0], &read[1]), (&Read::TooLong, &Read::Line("next".to_owned())));
        assert!(matches!(&read[2], Read::Line(line) if line.len() == LINE_BYTES_MAX));
        assert_eq!(read[3], Read::TooLong);
    }
}
