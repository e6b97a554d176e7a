"""The page in a real browser on the real server: what is drawn, photographed and corrected, by hand, finger and key."""

import base64
import itertools
import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import pytest
from chromium import WAIT_MS, complaint
from playwright.sync_api import BrowserContext, Page, Request, Route, expect
from server import encoded, free_port, launch, wait_until_ready

from infra import api_keys
from infra.storage import open_store
from serving import pages

pytestmark = pytest.mark.browser

TELEPHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 3}
FILES = [file.name for file in Path(pages.__file__).with_name("page").iterdir()]

Point = tuple[float, float]

# What a person draws, from (0, 0) at the paper's left upper corner to (1, 1).
ONE = [[(0.5, 0.15), (0.5, 0.85)]]
SEVEN = [[(0.25, 0.2), (0.72, 0.2), (0.45, 0.85)]]
ZERO = [[(0.5 + 0.24 * math.sin(turn / 8), 0.5 - 0.33 * math.cos(turn / 8)) for turn in range(52)]]
SHAPES = {0: ZERO, 1: ONE, 7: SEVEN}


@pytest.fixture
def visit(browser, server) -> Iterator[Callable[..., Page]]:
    """Opens the page as on a device; at the end, nothing may have left the origin or gone wrong unseen."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(origin: str = str(server.base_url), **device: object) -> Page:
        context = browser.new_context(**device)
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.add_init_script("addEventListener('securitypolicyviolation', e => console.error(e.violatedDirective))")
        page.on("console", lambda message: complaints.extend(complaint(message)))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.extend(stray(request, origin)))
        page.on("filechooser", lambda _: None)  # has them intercepted from now on, not from some moment after a key
        page.goto(origin)
        expect(page.locator("#model")).to_contain_text("Model")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(visit) -> Page:
    """The page on a desk."""
    return visit()


def stray(request: Request, origin: str) -> list[str]:
    return [] if request.url.startswith((origin, "data:", "blob:")) else [f"asks {request.url}"]


def draw(page: Page, strokes: list[list[Point]]) -> None:
    """With the mouse, in small steps."""
    box = page.locator("#paper").bounding_box()
    assert box is not None
    for stroke in strokes:
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*at[0])
        page.mouse.down()
        for point in at[1:]:
            page.mouse.move(*point, steps=6)
        page.mouse.up()


def read_as(page: Page, digit: int) -> None:
    """Wait until this is the answer, and the drawing is one that the server may keep."""
    expect(page.locator("#status")).to_contain_text(f"it is {'an' if digit == 8 else 'a'} {digit}:")
    expect(page.locator("#digit")).to_have_text(str(digit))


def settled(page: Page, act: Callable[[], object]) -> Request:
    """The request that asks about the finished drawing, after doing this."""
    with page.expect_request(lambda each: "/predict" in each.url and keeps(each), timeout=WAIT_MS) as asked:
        act()
    response = asked.value.response()
    assert response is not None
    response.finished()
    return asked.value


def keeps(request: Request) -> bool:
    return "inkloop-capture" not in request.headers


def shown(page: Page) -> list[str]:
    return page.locator("#digits .share").all_text_contents()


def percent(share: float) -> str:
    return ">99%" if 0.995 < share < 1 else f"{math.floor(100 * share + 0.5)}%"


def choose(page: Page, picture: bytes, name: str = "digit.png", media_type: str = "image/png") -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a picture").click()
    chooser.value.set_files({"name": name, "mimeType": media_type, "buffer": picture})


def amber_share(page: Page) -> float:
    """The share of the overlay's pixels that the attention tints."""
    script = """canvas => {
      const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let amber = 0;
      for (let i = 0; i < data.length; i += 4) amber += data[i] > data[i + 2] + 40;
      return amber / (data.length / 4);
    }"""
    return page.locator("#looked").evaluate(script)


@pytest.mark.parametrize("digit", SHAPES)
def test_a_drawn_digit_is_read(page, server, digit):
    asked = settled(page, lambda: draw(page, SHAPES[digit]))
    read_as(page, digit)
    headers = {"content-type": "application/json"}
    again = server.post("/predict/strokes", content=asked.post_data_buffer, headers=headers).json()
    assert shown(page) == [percent(share) for share in again["probabilities"]]


def test_strokes_have_places_and_times(page):
    strokes = json.loads(settled(page, lambda: draw(page, SEVEN)).post_data)["strokes"]
    assert len(strokes) == 1
    points = np.array(strokes[0])
    assert points.shape[1] == 3
    assert len(points) > 10
    assert points[0, :2] == pytest.approx([0.25 * 280, 0.2 * 280], abs=2)
    assert points[-1, :2] == pytest.approx([0.45 * 280, 0.85 * 280], abs=2)
    assert points[0, 2] == 0
    assert (np.diff(points[:, 2]) >= 0).all()


def test_the_answer_appears_while_one_draws(page):
    box = page.locator("#paper").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.15 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.85 * box["height"], steps=20)
    expect(page.locator("#digit")).to_have_text("1")
    page.mouse.up()
    read_as(page, 1)


def test_only_the_finished_drawing_may_be_kept(page):
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "/predict" in request.url else None)
    settled(page, lambda: draw(page, [ZERO[0][:26], ZERO[0][25:]]))
    assert len(asked) > 1
    assert [keeps(request) for request in asked] == [False] * (len(asked) - 1) + [True]


def test_no_answer_overtakes_another_or_comes_after_its_drawing(page):
    held: list[Route] = []
    page.route("**/predict/strokes*", lambda route: held.append(route))
    draw(page, SEVEN)
    page.wait_for_timeout(500)
    assert len(held) == 1, "one question at a time"
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Clear").click()
    page.unroute("**/predict/strokes*")
    draw(page, ONE)
    read_as(page, 1)


def test_a_photograph_is_read(page, recognizer, test_digits):
    image = test_digits.images[0]
    probabilities = recognizer.probabilities(image[None])[0]
    choose(page, encoded(image))
    read_as(page, int(probabilities.argmax()))
    assert shown(page) == [percent(share) for share in probabilities.tolist()]


def test_a_large_photograph_is_made_small_before_it_is_sent(page, test_digits):
    noise = np.random.default_rng(0).integers(0, 8, (3000, 4000), np.uint8)
    paper = 230 - noise
    paper[500:2500, 1000:3000] -= np.kron(test_digits.images[0] // 2, np.ones((72, 72), np.uint8))[:2000, :2000]
    asked = settled(page, lambda: choose(page, encoded(paper, "JPEG"), "photo.jpg", "image/jpeg"))
    assert asked.headers["content-type"] == "image/jpeg"
    assert asked.sizes()["requestBodySize"] < 500_000
    read_as(page, 7)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(page, recognizer, test_digits, way):
    image = test_digits.images[2]
    script = """([way, base64]) => {
      const data = new DataTransfer();
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      data.items.add(new File([bytes], "digit.png", {type: "image/png"}));
      const options = {bubbles: true, cancelable: true};
      document.body.dispatchEvent(way === "drop"
        ? new DragEvent("drop", {...options, dataTransfer: data})
        : new ClipboardEvent("paste", {...options, clipboardData: data}));
    }"""
    page.evaluate(script, [way, base64.b64encode(encoded(image)).decode()])
    read_as(page, int(recognizer.probabilities(image[None]).argmax()))


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(page):
    choose(page, b"these are words", "words.png")
    expect(page.locator("#status")).to_contain_text("no picture that the browser can read")


def test_the_servers_own_sentence_is_shown(page):
    choose(page, encoded(np.full((90, 90), 255, np.uint8)))
    expect(page.locator("#status")).to_contain_text("lank picture")
    expect(page.locator("#status")).to_have_class("problem")
    draw(page, ONE)
    read_as(page, 1)
    expect(page.locator("#status")).not_to_have_class("problem")


def test_it_shows_where_the_model_looked(page, server):
    asked = settled(page, lambda: draw(page, SEVEN))
    attention = asked.response().json()["attention"]
    read_as(page, 7)
    first = {name: 2 * int(np.argmax(weights)) + 1 for name, weights in attention.items()}
    sentence = (
        f"rows {first['rows2']} to {first['rows2'] + 1} and columns {first['columns2']} to {first['columns2'] + 1}."
    )
    expect(page.locator("#looked-at")).to_have_text(f"It looked most at {sentence}")
    assert 0.02 < amber_share(page) < 0.6


def test_patches_tint_the_picture_too(page):
    def answer_with_patches(route: Route) -> None:
        answer = route.fetch().json()
        route.fulfill(json={**answer, "attention": {"patches7": [0.05] * 5 + [0.25] + [0.05] * 10}})

    page.route("**/predict/strokes*", answer_with_patches)
    settled(page, lambda: draw(page, SEVEN))
    expect(page.locator("#looked-at")).to_have_text("It looked most at patch 6 of 16.")
    patch = page.locator("#looked").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, 112, 112).data].filter((_, i) => i % 4 === 0)"
    )
    red = np.array(patch).reshape(112, 112)
    assert red[60:108, 60:108].min() > red[4:52, 4:52].min(), "the sixth patch, in reading order, is lighter"


def test_sweeps_tint_the_squares_of_their_last_grid(page):
    def answer_with_sweeps(route: Route) -> None:
        answer = route.fetch().json()
        seen = [0.01] * 24 + [0.52] + [0.01] * 24  # of 14 x 14 patches of two pixels, halved once
        route.fulfill(json={**answer, "attention": {"sweeps2": seen}})

    page.route("**/predict/strokes*", answer_with_sweeps)
    settled(page, lambda: draw(page, SEVEN))
    expect(page.locator("#looked-at")).to_have_text("It looked most at patch 25 of 49.")
    pixels = page.locator("#looked").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, 224, 224).data].filter((_, i) => i % 4 === 0)"
    )
    red = np.array(pixels).reshape(224, 224)
    assert red[96:128, 96:128].min() > red[36:90, 4:60].min(), "the square in the middle is lighter"


def kept_corrections(server: httpx.Client) -> float:
    """How many the server has kept so far."""
    lines = server.get("/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("inkloop_feedback_total"))


def correction(page: Page, act: Callable[[], object]) -> dict:
    """The body of the correction that this sends."""
    with page.expect_request("**/feedback", timeout=WAIT_MS) as sent:
        act()
    return json.loads(sent.value.post_data)


def test_a_correction_is_sent_for_the_drawing_that_was_kept(page, server):
    asked = settled(page, lambda: draw(page, ONE))
    assert asked.headers["inkloop-source"] == "page"
    kept = asked.response().json()
    read_as(page, 1)
    before = kept_corrections(server)
    sent = correction(page, lambda: page.get_by_role("button", name="say that it is a 7").click())
    assert sent == {"prediction_id": kept["prediction_id"], "label": 7}
    expect(page.locator("#status")).to_have_text("Thank you: it is a 7.")
    expect(page.get_by_role("button", name="say that it is a 7")).to_have_attribute("aria-pressed", "true")
    assert kept_corrections(server) == before + 1


def test_a_hasty_correction_waits_until_the_drawing_is_kept(page):
    draw(page, ONE)
    expect(page.locator("#digit")).to_have_text("1")
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "/predict" in request.url else None)
    sent = correction(page, lambda: page.keyboard.press("4"))
    assert sent["prediction_id"] == [each for each in asked if keeps(each)][-1].response().json()["prediction_id"]
    expect(page.locator("#status")).to_have_text("Thank you: it is a 4.")


def test_without_consent_nothing_is_kept_and_nothing_corrected(page):
    page.get_by_label("Do not keep what I draw").check()
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if request.method == "POST" else None)
    draw(page, ONE)
    read_as(page, 1)
    page.wait_for_timeout(2_500)
    page.keyboard.press("7")
    expect(page.locator("#status")).to_contain_text("nothing to correct")
    page.reload()
    expect(page.get_by_label("Do not keep what I draw")).to_be_checked()
    assert asked
    assert {request.headers.get("inkloop-capture") for request in asked} == {"no"}


def test_consent_withdrawn_counts_for_what_is_not_sent_yet(page):
    draw(page, ONE)
    read_as(page, 1)
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "/predict" in request.url else None)
    page.get_by_label("Do not keep what I draw").check()
    page.wait_for_timeout(2_500)
    assert not any(keeps(request) for request in asked)
    again = settled(page, lambda: page.get_by_label("Do not keep what I draw").uncheck())
    assert len(json.loads(again.post_data)["strokes"]) == 1


def test_a_key_is_asked_for_kept_in_the_tab_and_used(page, server, api_key):
    draw(page, ONE)
    read_as(page, 1)
    page.keyboard.press("7")
    dialog = page.get_by_role("dialog", name="API key")
    expect(dialog).to_contain_text("This needs an API key")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("not known here")
    page.keyboard.type(api_key)
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Thank you: it is a 7.")
    for digit in (2, 3, 4):
        page.keyboard.press(str(digit))
    expect(page.locator("#status")).to_have_text("Thank you: it is a 4.")
    expect(page.locator("#digits [aria-pressed=true] .name")).to_have_text("4")
    assert page.evaluate("sessionStorage.length === 1 && localStorage.length === 0")


@pytest.fixture
def api_key(server, champion_store) -> Iterator[str]:
    """A key without which the server takes no correction; gone again at the end."""
    store = open_store(champion_store)
    yield wait_for(server, api_keys.add(store, "page"), 401)
    api_keys.remove(store, "page")
    wait_for(server, "", 200)


def wait_for(server: httpx.Client, key: str, status: int) -> str:
    """The key, once a correction without one gets this answer; the server reads its keys again every five seconds."""
    for _ in range(100):
        if server.post("/feedback", json={"prediction_id": str(uuid4()), "label": 7}).status_code == status:
            return key
        time.sleep(0.2)
    raise TimeoutError("the server does not know its keys")


def test_without_a_key_the_sentence_stays(page):
    body = {"type": "about:blank", "title": "Unauthorized", "status": 401, "detail": "This needs an API key."}
    page.route("**/feedback", lambda route: route.fulfill(status=401, json=body))
    draw(page, ONE)
    read_as(page, 1)
    page.keyboard.press("7")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("This needs an API key.")
    expect(page.locator("#digit")).to_have_text("1")


def test_undo_takes_back_a_stroke_and_clear_all(page):
    draw(page, [*ONE, [(0.2, 0.9), (0.8, 0.9)], [(0.1, 0.1), (0.9, 0.1)]])
    page.get_by_role("button", name="Undo").click()
    undone = json.loads(settled(page, lambda: page.keyboard.press("Control+z")).post_data)
    assert len(undone["strokes"]) == 1
    read_as(page, 1)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#digit")).to_be_empty()
    expect(page.locator("#looked")).to_be_hidden()
    expect(page.locator("#status")).to_contain_text("Draw a digit")
    assert shown(page) == [""] * 10


def test_all_is_done_without_a_mouse(page, recognizer, test_digits):
    reached = []
    for _ in range(15):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert outline == "3px", f"{reached[-1]} does not show its focus"
    assert reached == ["undo", "clear", "choose", "opt-out", *"0123456789", "API"]
    page.locator("#choose").focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    image = test_digits.images[0]
    chooser.value.set_files({"name": "digit.png", "mimeType": "image/png", "buffer": encoded(image)})
    read_as(page, int(recognizer.probabilities(image[None]).argmax()))
    assert correction(page, lambda: page.keyboard.press("5"))["label"] == 5
    page.get_by_role("button", name="say that it is a 6").focus()
    assert correction(page, lambda: page.keyboard.press("Space"))["label"] == 6
    expect(page.locator("#status")).to_have_text("Thank you: it is a 6.")
    page.keyboard.press("Escape")
    expect(page.locator("#digit")).to_be_empty()


def test_what_is_on_the_page_has_a_name_and_a_role(page):
    draw(page, ONE)
    read_as(page, 1)
    for name in ["Undo", "Clear", "Choose a picture", *(f"{digit}: " for digit in range(10))]:
        expect(page.get_by_role("button", name=name, exact=name == "Clear")).to_have_count(1)
    expect(page.get_by_role("img", name="Paper")).to_be_visible()
    expect(page.get_by_role("img", name="It looked most at")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("it is a 1")
    expect(page.get_by_role("link", name="API")).to_have_attribute("href", "docs")


def test_a_finger_draws_on_a_telephone(visit):
    page = visit(**TELEPHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for target in page.locator("button:visible, .opt-out").all():
        assert target.bounding_box()["height"] >= 44
    expect(page.get_by_role("button", name="Camera")).to_be_visible()
    assert page.locator("#camera").get_attribute("capture") == "environment"
    settled(page, lambda: swipe(page, SEVEN[0]))
    read_as(page, 7)
    assert page.evaluate("scrollY") == 0, "the page moved under the finger"
    page.get_by_role("button", name="say that it is a 2").tap()
    expect(page.locator("#status")).to_have_text("Thank you: it is a 2.")


def swipe(page: Page, stroke: list[Point]) -> None:
    """With a finger: touches as Chromium gets them from a screen."""
    box = page.locator("#paper").bounding_box()
    finger = page.context.new_cdp_session(page)
    corners = np.array(stroke) * [box["width"], box["height"]] + [box["x"], box["y"]]
    legs = [np.linspace(start, end, 12) for start, end in itertools.pairwise(corners)]
    for number, (x, y) in enumerate(np.concatenate(legs)):
        kind = "touchMove" if number else "touchStart"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": float(x), "y": float(y)}]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_it_is_dark_where_the_person_wants_it_dark(visit):
    lightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((sum, c) => sum + Number(c), 0)"
    dark, light = visit(color_scheme="dark"), visit(color_scheme="light")
    assert dark.evaluate(lightness) < 100
    assert light.evaluate(lightness) > 650
    draw(dark, SEVEN)
    read_as(dark, 7)


def test_nothing_moves_where_the_person_wants_it_still(visit):
    duration = "getComputedStyle(document.querySelector('#digits .bar')).transitionDuration"
    assert visit(reduced_motion="reduce").evaluate(duration) == "0s"
    assert visit(reduced_motion="no-preference").evaluate(duration) != "0s"


def test_it_waits_for_a_server_that_is_gone(champion_store, visit):
    port = free_port()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        process = launch(champion_store, port)
        wait_until_ready(process, client)
        page = visit(f"http://127.0.0.1:{port}")
        expect(page.locator("#gone")).to_be_hidden()
        process.send_signal(signal.SIGTERM)
        process.wait()
        draw(page, SEVEN)
        expect(page.get_by_role("alert")).to_contain_text("does not answer")
        process = launch(champion_store, port)
        try:
            wait_until_ready(process, client)
            read_as(page, 7)
            expect(page.locator("#gone")).to_be_hidden()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


@pytest.mark.parametrize("status", [429, 503])
def test_it_asks_again_where_the_server_cannot_answer_just_now(page, status):
    page.route("**/predict/strokes*", lambda route: route.fulfill(status=status, body="Later."), times=2)
    draw(page, ONE)
    expect(page.get_by_role("alert")).to_contain_text("does not answer just now")
    read_as(page, 1)
    expect(page.locator("#gone")).to_be_hidden()


def test_the_page_is_small_strict_and_cached_by_its_etag(server):
    answers = [server.get(f"/page/{name}") for name in FILES]
    assert sum(len(answer.content) for answer in answers) <= 30_000
    for answer in [server.get("/"), *answers]:
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        again = server.get(answer.url.path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
