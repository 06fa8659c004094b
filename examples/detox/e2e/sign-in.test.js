describe("sign in", () => {
  beforeAll(async () => {
    await device.launchApp({ newInstance: true, delete: false });
  });

  it("greets who has signed in", async () => {
    await element(by.id("email")).typeText(process.env.EMAIL ?? "ada@example.com");
    await element(by.id("continue")).tap();
    await expect(element(by.text("Welcome"))).toBeVisible();
  });
});
