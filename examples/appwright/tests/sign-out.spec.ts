import { expect, test } from "appwright";

// Begins signed out, whatever the tests before it did: the app's data are cleared for each test.
test("signing out leads back to the beginning", async ({ device }) => {
  await expect(device.getByText("Hello", { exact: true })).toBeVisible();
  await device.getByText("Sign in", { exact: true }).tap();
  await device.getByText("Sign out", { exact: true }).tap();
  await expect(device.getByText("Sign in", { exact: true })).toBeVisible();
});
