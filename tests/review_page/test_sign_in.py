"""A browser that comes from the file which the command opens is signed in, as one that was given the address."""

from smiler.cli import browser


def test_the_file_that_the_command_opens_leads_to_the_page(served, chromium, tmp_path, monkeypatch):
    pages = []
    monkeypatch.setattr(browser.webbrowser, "open", pages.append)
    context = chromium.new_context()
    with browser.opened(served.urls["anna"]):
        page = context.new_page()
        page.goto(pages[0])
        page.wait_for_url(lambda url: url.startswith("http") and "token" not in url, timeout=60_000)
        page.wait_for_selector(".item", timeout=60_000)
        assert page.evaluate("fetch('/api/session').then(answer => answer.json())")["reviewer"] == "anna"
        assert [row["sameSite"] for row in context.cookies()] == ["Strict"]
    context.close()
