//! The few Python literals that headers of NumPy's files are made of.

use crate::error::excerpt;

/// What is left of a text of Python literals.
pub(super) struct Rest<'a>(pub(super) &'a str);

impl<'a> Rest<'a> {
    pub(super) fn skip(&mut self, token: &str) -> bool {
        match self.0.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<(), String> {
        match self.skip(token) {
            true => Ok(()),
            false => Err(format!(
                "its header has {} in the place of {token:?}",
                excerpt(self.0.trim_start())
            )),
        }
    }

    pub(super) fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.skip("\"") { '"' } else { '\'' };
        if quote == '\'' {
            self.expect("'")?;
        }
        let (text, rest) = self
            .0
            .split_once(quote)
            .ok_or("its header has an open string")?;
        self.0 = rest;
        Ok(text)
    }

    /// A type's name; a list of fields is given as it stands, up to its end, for the message.
    pub(super) fn type_name(&mut self) -> Result<&'a str, String> {
        match self.0.trim_start().starts_with('[') {
            true => Err("it has fields, where a plain array is needed".into()),
            false => self.string(),
        }
    }

    pub(super) fn boolean(&mut self) -> Result<bool, String> {
        if self.skip("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    pub(super) fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.expect("(")?;
        let mut sides = Vec::new();
        while !self.skip(")") {
            self.0 = self.0.trim_start();
            let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = self.0.split_at(digits);
            let side = number.parse().map_err(|_| {
                format!("its header has {} in the place of a size", excerpt(self.0))
            })?;
            sides.push(side);
            self.0 = rest;
            // Python 2 wrote long integers.
            self.skip("L");
            if !self.skip(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(sides)
    }
}
