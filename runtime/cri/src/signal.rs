//! Stop signals: CRI's enumeration and image configurations name them, kill(2) wants numbers.

use crate::error::CriError;
use nix::sys::signal::Signal;
use skiff_proto::cri::v1::Signal as Named;
use std::str::FromStr;

/// The first real-time signal that programs may use: glibc and musl keep two below for themselves (signal(7)).
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The container's stop signal, or its image's, or SIGTERM.
pub(crate) fn stop_signal(asked: Named, image: Option<&str>) -> Result<i32, CriError> {
    match (asked, image) {
        (Named::RuntimeDefault, None | Some("")) => Ok(Signal::SIGTERM as i32),
        (Named::RuntimeDefault, Some(image)) => number(image),
        (named, _) => number(&named.as_str_name().replace("SIGNAL_", "").replace("PLUS", "+").replace("MINUS", "-")),
    }
}

/// CRI's word for a number; the kubelet shows it.
pub(crate) fn named(number: i32) -> Named {
    let text = match number {
        RTMIN => "SIGRTMIN".to_owned(),
        RTMAX => "SIGRTMAX".to_owned(),
        35..50 => format!("SIGRTMINPLUS{}", number - RTMIN),
        50..64 => format!("SIGRTMAXMINUS{}", RTMAX - number),
        _ => Signal::try_from(number).map(|signal| signal.as_str().to_owned()).unwrap_or_default(),
    };
    Named::from_str_name(&format!("SIGNAL_{text}")).unwrap_or(Named::RuntimeDefault)
}

fn number(text: &str) -> Result<i32, CriError> {
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time =
        |base: i32, rest: &str| if rest.is_empty() { Some(base) } else { Some(base + rest.parse::<i32>().ok()?) };
    let number = match name {
        "CLD" => Some(Signal::SIGCHLD as i32),
        "POLL" => Some(Signal::SIGIO as i32),
        "IOT" => Some(Signal::SIGABRT as i32),
        _ => name
            .parse()
            .ok()
            .or_else(|| name.strip_prefix("RTMIN").and_then(|rest| real_time(RTMIN, rest)))
            .or_else(|| name.strip_prefix("RTMAX").and_then(|rest| real_time(RTMAX, rest)))
            .or_else(|| Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32)),
    };
    let valid = number.filter(|number| (1..=RTMAX).contains(number));
    valid.ok_or_else(|| CriError::Invalid(format!("stop signal `{text}` is not known")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same() {
        for (text, expected) in
            [("SIGTERM", 15), ("quit", 3), ("9", 9), ("SIGRTMIN+3", 37), ("SIGRTMAX-1", 63), ("SIGPOLL", 29)]
        {
            assert_eq!(number(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "0", "65", "SIGNOTHING", "RTMAX+1"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_word_of_the_protocol_is_understood() {
        for value in 1..=65 {
            let word = Named::try_from(value).unwrap();
            let number = stop_signal(word, None).unwrap();
            assert_eq!(stop_signal(named(number), None).unwrap(), number, "{word:?}");
        }
    }

    #[test]
    fn the_container_comes_before_its_image() {
        assert_eq!(stop_signal(Named::Sigusr1, Some("SIGQUIT")).unwrap(), 10);
        assert_eq!(stop_signal(Named::RuntimeDefault, Some("SIGQUIT")).unwrap(), 3);
        assert_eq!(stop_signal(Named::RuntimeDefault, None).unwrap(), 15);
    }
}
