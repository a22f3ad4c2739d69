"""Notices by webhook (a real HTTP server) and mail (a server in place of a lab's): out once, again where it
did not work, and names that try something come out as names."""

import asyncio
import json
import time
from email import message_from_string, policy

import pytest
from aiohttp import web

from gpubox.db import open_database
from gpubox.service.delivery import CannotDeliver, Delivery, address, mail, password, payload
from gpubox.service.live import Live
from gpubox.service.notices import Notices, Wanted
from gpubox.service.settings import GPUService
from gpubox.service.store import Notice, Store
from service.mail_stand_in import MailServerStandIn

NOTICE = Notice(1, "ada", "training", "idle", "idle 1", "It will be stopped.", 1.0, due_at=2e9)


@pytest.fixture
async def notices(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    store = Store(engine)
    yield Notices(store, Live(None))
    await store.close()
    engine.dispose()


@pytest.fixture
async def hook():
    """A chat program's webhook; ``answers`` are its next statuses, then 200."""
    got, answers = [], []

    async def take(request):
        got.append(await request.json())
        return web.Response(status=answers.pop(0) if answers else 200)

    application = web.Application()
    application.router.add_post("/hooks/x", take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/hooks/x", got, answers
    await runner.cleanup()


@pytest.fixture
async def deliver(notices):
    """Begins to deliver with options; ends it after the test."""
    tasks = []

    def begin(**options):
        delivery = Delivery(notices, GPUService(**options))
        delivery.first_wait_seconds = 0.01
        tasks.append(asyncio.create_task(delivery.run()))

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def tell(notices, kind="idle", user="ada", about="idle 1 machine 5"):
    told = Wanted(user, "training", kind, about, "It will be stopped.", time.time() + 600)
    return await notices.tell(told, time.time())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def sent(notices):
    return [notice.sent_at for notice in notices.open()]


# --- webhook -------------------------------------------------------------------------------------------


async def test_a_notice_is_posted_once_and_that_is_written_down(notices, deliver, hook):
    url, got, _ = hook
    deliver(webhook_url=url)
    notice = await tell(notices)
    await until(lambda: all(sent(notices)))
    assert got == [
        {
            "text": "ada/training: It will be stopped.",
            "kind": "idle",
            "user": "ada",
            "server": "training",
            "due_at": notice.due_at,
        }
    ]
    await notices.load()
    assert all(sent(notices))


async def test_a_webhook_that_fails_is_tried_again(notices, deliver, hook):
    url, got, answers = hook
    answers += [500, 429]
    deliver(webhook_url=url)
    await tell(notices)
    await until(lambda: all(sent(notices)))
    assert len(got) == 3


async def test_a_webhook_that_refuses_is_not_and_the_next_notice_goes_out(notices, deliver, hook):
    url, got, answers = hook
    answers += [404]
    deliver(webhook_url=url)
    await tell(notices)
    await until(lambda: got)
    await tell(notices, about="idle 2 machine 5")
    await until(lambda: any(sent(notices)))
    assert [bool(at) for at in sent(notices)] == [False, True] and len(got) == 2


async def test_a_notice_that_is_closed_meanwhile_is_not_tried_again(notices, deliver, hook):
    url, got, answers = hook
    answers += [500] * 1000
    deliver(webhook_url=url)
    closed = await tell(notices)
    await until(lambda: got)
    await notices.close(closed.id)
    open_still = await tell(notices, user="ben", about="idle 2 machine 5")
    # Tries come further and further apart: by the time of six more of ben's, ada's would have come as well.
    await until(lambda: sum(one["user"] == "ben" for one in got) >= 7)
    assert sum(one["user"] == "ada" for one in got) <= 2  # one may have been on its way
    await notices.close(open_still.id)


async def test_kinds_that_were_not_chosen_stay_in_jupyterlab(notices, deliver, hook):
    url, got, _ = hook
    deliver(webhook_url=url, send_kinds=["budget"])
    await tell(notices, "idle")
    await tell(notices, "budget", about="budget 80 5 0 ada")
    await until(lambda: got)
    assert [one["kind"] for one in got] == ["budget"]


async def test_what_a_killed_service_had_not_sent_is_sent_by_the_next(notices, deliver, hook):
    url, got, _ = hook
    await tell(notices)
    await notices.load()
    deliver(webhook_url=url)
    await until(lambda: all(sent(notices)))
    assert len(got) == 1


async def test_what_was_told_before_delivery_began_is_sent_once(notices, hook):
    url, got, _ = hook
    delivery = Delivery(notices, GPUService(webhook_url=url))
    await tell(notices)
    running = asyncio.create_task(delivery.run())
    await until(lambda: all(sent(notices)))
    await tell(notices, user="ben", about="idle 2 machine 5")
    await until(lambda: all(sent(notices)))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [one["user"] for one in got] == ["ada", "ben"]


def test_words_of_others_make_no_link_and_call_nobody_in_a_chat():
    notice = Notice(1, "<!channel>", None, "ask", "ask 1", "ben asks: <http://x|click> @all & more", 1.0)
    text = payload(notice)["text"]
    assert "<" not in text and "@all" not in text
    assert "&lt;!channel&gt;" in text and "&amp; more" in text
    assert json.dumps(payload(notice))


# --- mail ----------------------------------------------------------------------------------------------


def options(port=25, **more):
    return {
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_security": "none",
        "mail_from": "GPU machines <gpubox@example.org>",
        "mail_to": "{username}@example.org",
        **more,
    }


async def test_a_notice_is_mailed_to_its_user(notices, deliver):
    async with MailServerStandIn() as server:
        deliver(**options(server.port))
        await tell(notices)
        await until(lambda: all(sent(notices)))
    (got,) = server.mails
    assert got.to == ["<ada@example.org>"] and got.sender.startswith("<gpubox@example.org>")
    message = message_from_string(got.text, policy=policy.default)
    assert message["To"] == "ada@example.org"
    assert message["Subject"] == "Your idle machine will be stopped"
    assert "It will be stopped." in message.get_content()


async def test_a_mail_server_that_is_busy_is_tried_again(notices, deliver):
    async with MailServerStandIn(refusals=["451 later"]) as server:
        deliver(**options(server.port))
        await tell(notices)
        await until(lambda: all(sent(notices)))
    assert len(server.mails) == 1


async def test_an_address_that_is_refused_holds_up_nobody(notices, deliver):
    async with MailServerStandIn(refusals=["550 no such user"]) as server:
        deliver(**options(server.port))
        await tell(notices, user="nobody")
        await until(lambda: not server.refusals)
        await tell(notices, about="idle 2 machine 5")
        await until(lambda: any(sent(notices)))
    assert [one.to for one in server.mails] == [["<ada@example.org>"]]


async def test_a_webhook_that_works_counts_though_the_mail_does_not(notices, deliver, hook):
    url, got, _ = hook
    deliver(webhook_url=url, **options(1, mail_to="{username}"))
    await tell(notices)
    await until(lambda: all(sent(notices)))
    assert len(got) == 1


@pytest.mark.parametrize(
    ("user", "to"),
    [
        ("ada", "ada@example.org"),
        ("ada@elsewhere.org", '"ada@elsewhere.org"@example.org'),
        ("a b", '"a b"@example.org'),
        ('x"y', '"x\\"y"@example.org'),
        ("x@evil.org,y", '"x@evil.org,y"@example.org'),
    ],
)
def test_a_name_is_quoted_and_cannot_choose_another_domain(user, to):
    assert address("{username}@example.org", user).addr_spec == to


async def test_a_quoted_name_reaches_the_server_as_one_address(notices, deliver):
    async with MailServerStandIn() as server:
        deliver(**options(server.port))
        await tell(notices, user="x@evil.org,y")
        await until(lambda: all(sent(notices)))
    assert server.mails[0].to == ['<"x@evil.org,y"@example.org>']


@pytest.mark.parametrize("user", ["x\r\nBcc: all@example.org", "x\ny", "x\0y", ""])
def test_a_name_with_a_line_break_makes_no_mail(user):
    with pytest.raises(CannotDeliver):
        mail(Notice(1, user, None, "idle", "idle 1", "It.", 1.0), GPUService(**options()), 1.0)


def test_names_that_are_addresses_may_be_used_as_such():
    assert address("{username}", "ada@uni.example.org").addr_spec == "ada@uni.example.org"
    for wrong in ("ada", "ada@", "ada@x y", "@uni", "a@b@c@", "ada@x,y"):
        with pytest.raises(CannotDeliver):
            address("{username}", wrong)


def test_a_notice_with_line_breaks_stays_in_the_body():
    notice = Notice(1, "ada", None, "ask", "ask 1", "ben asks: x\r\nBcc: all@example.org", 1.0)
    message = mail(notice, GPUService(**options()), 1.0)
    assert message["Bcc"] is None and "Bcc" in message.get_content()


def test_a_password_that_others_may_read_is_not_used(tmp_path):
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(0o644)
    with pytest.raises(CannotDeliver, match="chmod 600"):
        password(file)
    file.chmod(0o600)
    assert password(file) == "secret"
    with pytest.raises(CannotDeliver):
        password(tmp_path / "none")
