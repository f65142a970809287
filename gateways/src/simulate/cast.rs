//! Who is there and what they say: invented, kind, and in more alphabets than one.

use std::sync::Arc;

use super::deed::Reward;

/// Somebody with a Twitch account. `login` is not always the small letters of `name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    pub id: Arc<str>,
    pub login: Arc<str>,
    pub name: Arc<str>,
}

impl Viewer {
    pub fn new(id: &str, login: &str, name: &str) -> Self {
        Viewer { id: id.into(), login: login.into(), name: name.into() }
    }
}

const FIRST_ID: usize = 5_001;

const NAMES: [(&str, &str); 32] = [
    ("reeldeal", "ReelDeal"),
    ("betamaxine", "BetaMaxine"),
    ("rewindraccoon", "RewindRaccoon"),
    ("be_kind_otter", "Be_Kind_Otter"),
    ("tracking_san", "トラッキングさん"),
    ("snackinspector", "SnackInspector"),
    ("staticandwarm", "StaticAndWarm"),
    ("kassettenkoenig", "KassettenKönig"),
    ("magnetic_ella", "Magnetic_Ella"),
    ("layla_tapes", "ليلى_الأشرطة"),
    ("popcornprofessor", "PopcornProfessor"),
    ("twelve_oclock_blink", "Twelve_OClock_Blink"),
    ("sir_fast_forward", "Sir_Fast_Forward"),
    ("boazvhs", "בועז_וידאו"),
    ("lamp_enthusiast", "lamp_enthusiast"),
    ("pufferzone", "PufferZone"),
    ("gentle_modem", "Gentle_Modem"),
    ("doublefeature", "DoubleFeature"),
    ("soup_o_clock", "Soup_O_Clock"),
    ("bobina_feliz", "BobinaFeliz"),
    ("crt_glow", "CRT_Glow"),
    ("moth_by_the_tv", "MothByTheTV"),
    ("jiji_taishi", "磁気大使"),
    ("wool_sweater_dad", "WoolSweaterDad"),
    ("antennagran", "AntennaGran"),
    ("quiet_applause", "quiet_applause"),
    ("plenka_pasha", "Плёнка_Паша"),
    ("remoteunderyou", "RemoteUnderYou"),
    ("late_fee_larry", "LateFeeLarry"),
    ("petertrainfan", "PeterTrainFan"),
    ("two_spools", "two_spools"),
    ("gomaneumtape", "고마운테이프"),
];

/// The `n`-th viewer: everyone has a turn, and then their cousins with a number.
pub(super) fn viewer(n: usize) -> Viewer {
    let (login, name) = NAMES[n % NAMES.len()];
    let id = (FIRST_ID + n).to_string();
    match n / NAMES.len() {
        0 => Viewer::new(&id, login, name),
        cousin => {
            Viewer::new(&id, &format!("{login}{}", cousin + 1), &format!("{name}{}", cousin + 1))
        }
    }
}

pub(super) const CHEERS: [&str; 20] = [
    "that tracking line is doing its best and so am I",
    "for the toaster safety department",
    "my cat sat up when the theme song came on 🐈",
    "is this the director's cut of a weather report? I love it",
    "buy the tape a tiny blanket",
    "ערב טוב לכולם, איזה סרט נפלא 📼",
    "the man in the beige suit is the true hero",
    "おつかれさま！今夜も最高のテープです ✨",
    "I laughed so hard my soup went cold, worth it",
    "please give the boom mic operator a raise",
    "مساء الخير، هذا الشريط كنز حقيقي 💛",
    "scientists agree: 1987 had the best staplers",
    "👩‍👩‍👧‍👦 whole family is watching, grandma says hello",
    "everyone drink some water, then rewind",
    "this is the calmest fire drill I have ever seen",
    "une cassette, un sourire, merci !",
    "I would trust this puppet with my taxes",
    "с любовью из видеопроката 💾",
    "hello friends how are you, this tape is how I am",
    "the credits alone deserve an award 🏆🏆🏆",
];

/// What is asked for with points.
pub(super) const WISHES: [&str; 8] = [
    "ghost of a lighthouse",
    "friend who is a heron",
    "friend who is an orange teapot",
    "ghost of the lost remote control",
    "ghost of a fax machine",
    "friend who is a sky-blue accountant",
    "ghost of dial-up internet",
    "friend who is the purple moon",
];

pub(super) const RESUBS: [&str; 10] = [
    "another month of static, and I would not have it any other way",
    "still here, still rewinding, still kind",
    "my tape collection thanks you, my shelf does not",
    "月日が経つのは早いですね 📼",
    "my plant watches with me now, it has grown two leaves",
    "שוב פה, שוב מחייך 🌙",
    "time flies when the clock blinks twelve",
    "I told my dentist about this channel",
    "gracias por otro mes de tesoros raros 🎞️",
    "",
];

pub(super) const TITLES: [(&str, &str); 8] = [
    ("Tape night: Toaster Safety and You (1987)", "Retro"),
    ("Blind viewing: the box just says «DO NOT TAPE OVER»", "Just Chatting"),
    ("Four hours of regional bowling, by request 🎳", "Sports"),
    ("A puppet explains compound interest", "Just Chatting"),
    ("深夜の磁気テープ鑑賞会 📼", "Retro"),
    ("Be kind, please unwind", "Retro"),
    ("Corporate training video bracket: the semifinals", "Special Events"),
    ("We found the second spool!", "Just Chatting"),
];

pub(super) const POLLS: [&str; 4] = [
    "Which tape is next?",
    "Was the dog in on it?",
    "Rewind now, or live a little?",
    "Best jumper so far?",
];

pub(super) fn rewards() -> [Reward; 4] {
    let reward = |id: &str, title: &str, cost| Reward { id: id.into(), title: title.into(), cost };
    [
        reward("92af127c-7326-4483-a52b-b0da0be61c01", "Kind rewind", 300),
        reward("b5a1d0c4-0d3e-4c59-9f5b-1a2e6f0e8c02", "Name the potted plant", 1_000),
        reward("0c9f1e77-53a2-4f7e-8d64-3c7c2b9a4d03", "Hydrate 💧", 150),
        reward("e41d6c1a-8b0f-4a2d-b6f3-77d5a0c1be04", "Adjust the tracking", 500),
    ]
}

pub(super) const INPUTS: [&str; 6] = [
    "",
    "call it Fernsehen, because it is a fern that sees",
    "a bit to the left, thank you",
    "בבקשה 🌵",
    "Sir Leafs-a-lot",
    "お願いします",
];
