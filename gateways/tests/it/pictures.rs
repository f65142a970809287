//! Pictures in a bucket.

use axum::http::StatusCode;
use gateways::outgoing::Secret;
use gateways::pictures::bucket::{Bucket, Settings};
use gateways::pictures::{PictureError, Pictures, name_of};

use crate::fakes::s3::{self, S3};

/// The smallest PNG there is, with one transparent pixel.
const PIXEL: &[u8] = include_bytes!("../data/pixel.png");

fn settings(fake: &S3) -> Settings {
    Settings {
        name: s3::BUCKET.to_owned(),
        endpoint: fake.endpoint().try_into().expect("an address"),
        region: s3::REGION.to_owned(),
        prefix: "night/".to_owned(),
        path_style: true,
        access_key: s3::ACCESS_KEY.to_owned(),
        secret_key: Secret::new(s3::SECRET_KEY),
    }
}

fn pictures(settings: &Settings) -> Pictures {
    assert_eq!(settings.refusal(), None);
    Pictures::in_bucket(Bucket::new(settings).expect("good settings"), "/nowhere")
}

fn reason(error: PictureError) -> String {
    assert!(matches!(error, PictureError::Bucket { .. }), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_picture_in_a_bucket_is_found_under_the_name_of_its_content() {
    let fake = S3::start().await;
    let pictures = pictures(&settings(&fake));
    let name = name_of(PIXEL);
    assert_eq!(pictures.get(&name).await.expect("an answer"), None);
    for _ in 0..2 {
        assert_eq!(pictures.put(PIXEL).await.expect("stored"), name);
    }
    let stored = pictures.get(&name).await.expect("readable").expect("there");
    assert_eq!((stored.bytes.as_ref(), stored.media_type), (PIXEL, "image/png"));
    let path = format!("/{}/night/{}/{name}", s3::BUCKET, &name[..2]);
    assert_eq!(fake.objects(), [(path.clone(), "image/png".to_owned())]);
    fake.spoil(&path);
    let error = pictures.get(&name).await.expect_err("it is not what was stored");
    assert!(matches!(error, PictureError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_bucket_in_trouble_is_asked_again_because_the_picture_is_paid_for() {
    let fake = S3::start().await;
    let pictures = pictures(&settings(&fake));
    let busy = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
    fake.troubles(busy);
    let name = pictures.put(PIXEL).await.expect("stored in the end");
    fake.troubles(busy);
    assert!(pictures.get(&name).await.expect("read in the end").is_some());
    assert_eq!(fake.calls().len(), 6);
}

#[tokio::test]
async fn a_bucket_that_refuses_says_why_and_shows_no_signature() {
    let fake = S3::start().await;
    let wrong = Settings { secret_key: Secret::new("another"), ..settings(&fake) };
    let error = reason(pictures(&wrong).put(PIXEL).await.expect_err("refused"));
    assert!(error.contains("403") && error.contains("SignatureDoesNotMatch"), "{error}");
    let absent = Settings { name: "no-such-bucket".to_owned(), ..settings(&fake) };
    let error = reason(pictures(&absent).get(&name_of(PIXEL)).await.expect_err("refused"));
    assert!(error.contains("no-such-bucket") && error.contains("NoSuchBucket"), "{error}");
    assert!(!error.contains("X-Amz"), "{error}");
    assert_eq!(fake.calls().len(), 2, "what asking again would not change is asked once");
}

#[tokio::test]
async fn what_a_bucket_may_not_say_to_be_missing_is_missing_and_what_is_there_is_shown() {
    let fake = S3::start().await;
    fake.grows_secretive();
    let pictures = pictures(&settings(&fake));
    let name = name_of(PIXEL);
    assert_eq!(pictures.get(&name).await.expect("no failure"), None);
    let error = pictures.store(&name).await.expect_err("whether it was stored is not known");
    assert!(matches!(error, PictureError::Withheld { .. }), "{error}");
    pictures.put(PIXEL).await.expect("stored");
    assert!(pictures.get(&name).await.expect("readable").is_some());
    assert!(pictures.store(&name).await.expect("readable"));
    let wrong = Settings { secret_key: Secret::new("another"), ..settings(&fake) };
    let wrong = Pictures::in_bucket(Bucket::new(&wrong).expect("good settings"), "/nowhere");
    let error = reason(wrong.get(&name).await.expect_err("a wrong key is a failure"));
    assert!(error.contains("SignatureDoesNotMatch"), "{error}");
}
