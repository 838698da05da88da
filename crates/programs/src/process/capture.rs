//! What is kept of a program's output.

/// The last bytes of a stream: a chatty program must not fill the memory.
#[derive(Debug)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
    limit: usize,
    dropped: u64,
}

impl Tail {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, dropped: 0 }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        // Cutting only at twice the limit keeps the cost per byte constant.
        if self.bytes.len() > self.limit.saturating_mul(2) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let excess = self.bytes.len().saturating_sub(self.limit);
        self.bytes.drain(..excess);
        self.dropped += excess as u64;
    }

    /// The bytes that are left, and how many before them were dropped.
    pub(crate) fn finish(mut self) -> (Vec<u8>, u64) {
        self.cut();
        (self.bytes, self.dropped)
    }
}

/// Cuts a stream into lines, however its chunks fall.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

/// A "line" longer than this is handed over in pieces.
const LONGEST_LINE: usize = 4 << 20;

impl Lines {
    pub(crate) fn push(&mut self, mut chunk: &[u8], mut line: impl FnMut(&str)) {
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(&chunk[..end]);
            self.flush(&mut line);
            chunk = &chunk[end + 1..];
        }
        self.partial.extend_from_slice(chunk);
        if self.partial.len() > LONGEST_LINE {
            self.flush(&mut line);
        }
    }

    /// The last line, where it has no newline.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            self.flush(&mut line);
        }
    }

    fn flush(&mut self, line: &mut impl FnMut(&str)) {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        line(text.strip_suffix('\r').unwrap_or(&text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_what_came_last() {
        let mut tail = Tail::new(4);
        for chunk in [&b"ab"[..], b"cdefghijk", b"l"] {
            tail.push(chunk);
        }
        assert_eq!(tail.finish(), (b"ijkl".to_vec(), 8));
    }

    #[test]
    fn lines_do_not_depend_on_chunks() {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        for chunk in [&b"on"[..], b"e\r\ntwo\n\nthr", b"ee"] {
            lines.push(chunk, |line| seen.push(line.to_owned()));
        }
        lines.finish(|line| seen.push(line.to_owned()));
        assert_eq!(seen, ["one", "two", "", "three"]);
    }
}
