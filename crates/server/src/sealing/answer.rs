use axum::body::{Body, BodyDataStream, Bytes, HttpBody, to_bytes};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::Response;
use equicrypt_sealed::{CONTENT_TYPE as SEALED, Error, Head, ResponseSealer, StreamSealer, Window};
use futures_util::{StreamExt, stream};

/// The answer, sealed: at once if its length is known, else piece by piece as it comes. If it breaks, the last frame never
/// comes.
pub(super) async fn seal(
    response: Response,
    sealer: ResponseSealer,
    window: Window,
) -> Result<Response, Error> {
    let (mut parts, body) = response.into_parts();
    let kind = parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(SEALED));
    let kind = kind.as_ref().and_then(|kind| kind.to_str().ok());
    parts.headers.remove(CONTENT_LENGTH);
    let (start, stream) = sealer.start(&Head {
        status: parts.status.as_u16(),
        window,
        content_type: kind.unwrap_or_default().to_owned(),
    })?;
    let whole = body
        .size_hint()
        .exact()
        .and_then(|size| usize::try_from(size).ok());
    let body = match whole {
        Some(size) => match to_bytes(body, size).await {
            Ok(bytes) => Body::from([start, stream.finish(&bytes)?].concat()),
            Err(_) => Body::from(start),
        },
        None => streamed(start, stream, body.into_data_stream()),
    };
    Ok(Response::from_parts(parts, body))
}

fn streamed(start: Vec<u8>, sealer: StreamSealer, inner: BodyDataStream) -> Body {
    let state = (Some(sealer), inner);
    let rest = stream::unfold(state, |(sealer, mut inner)| async move {
        let mut sealer = sealer?;
        let (sealed, sealer) = match inner.next().await {
            Some(Ok(data)) => (sealer.data(&data), Some(sealer)),
            Some(Err(error)) => return Some((Err(error), (None, inner))),
            None => (sealer.finish(&[]), None),
        };
        let sealed = sealed.map(Bytes::from).map_err(axum::Error::new);
        Some((sealed, (sealer, inner)))
    });
    let start = stream::iter([Ok(Bytes::from(start))]);
    Body::from_stream(start.chain(rest))
}
